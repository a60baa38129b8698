"""Lines of a console: what a reader of the terminal has at last, whatever pieces it came in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.tracking.capture.budget import BURST_LINES, LAST_LINES, LINES_PER_S, ConsoleBudget, Entry
from flashtrial.tracking.capture.lines import MAX_LINE_BYTES, LineAssembler, cut
from flashtrial.tracking.capture.masking import Masks
from flashtrial.tracking.capture.recorder import ConsoleRecorder


def texts(*chunks: bytes) -> list[str]:
    assembler = LineAssembler()
    lines = [line for chunk in chunks for line in assembler.feed(chunk)]
    return [line.text() for line in (*lines, *assembler.flush())]


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\n\nb", ["a", "", "b"]),
        (b"dos\r\n", ["dos"]),
        (b"\r 10%|#  |\r 50%|## |\r100%|###|\n", ["100%|###|"]),
        (b" 10%\r 50%", [" 50%"]),
        (b" 50%\r\nnext\n", [" 50%", "next"]),
        (b" 50%\r", [" 50%"]),
        (b"bad \xff\xfe end\n", ["bad \\xff\\xfe end"]),
        (b"nul \x00 end\n", ["nul \\x00 end"]),
        ("ünï 🙂\n".encode(), ["ünï 🙂"]),
        (b"\x1b[31mred\x1b[0m \x1b[2K\x1b[1Aup\n", ["\x1b[31mred\x1b[0m up"]),
        (b"\x1b]0;title\x07shown\n", ["shown"]),
    ],
)
def test_a_line_is_what_the_terminal_shows_of_it_at_last(written: bytes, lines: list[str]) -> None:
    assert texts(written) == lines


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"bar", b"\xff", "ü".encode()]), max_size=40), st.data())
def test_lines_do_not_depend_on_the_pieces_they_come_in(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert texts(*pieces) == texts(whole)


def test_of_a_line_that_nobody_would_read_the_beginning_is_kept_in_little_memory() -> None:
    assembler = LineAssembler()
    for _ in range(100):
        assert assembler.feed(b"x" * 1_000_000) == []
    [line] = assembler.feed(b"\n")
    assert line.size_bytes == 100_000_000
    assert len(line.data) < 20_000
    shown = cut(line.text(), line.size_bytes)
    assert shown == "x" * MAX_LINE_BYTES + f" [… {100_000_000 - MAX_LINE_BYTES} bytes cut]"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def numbered(entries: list[Entry]) -> list[str]:
    return [entry.text for entry in entries]


def test_a_burst_is_kept_whole_and_of_a_flood_the_first_and_the_last_lines() -> None:
    clock = Clock()
    budget = ConsoleBudget(clock)
    kept = [entry for number in range(BURST_LINES + 5_000) for entry in budget.admit(Entry("stdout", str(number)))]
    assert numbered(kept) == [str(number) for number in range(BURST_LINES)]
    assert budget.released() == [], "there is no room yet"
    cut_lines = 5_000 - LAST_LINES
    assert numbered(budget.release()) == [
        f"[… {cut_lines} lines cut: too many at once]",
        *(str(number) for number in range(BURST_LINES + cut_lines, BURST_LINES + 5_000)),
    ]
    assert budget.release() == []


def test_what_is_held_back_comes_when_there_is_room_again() -> None:
    clock = Clock()
    budget = ConsoleBudget(clock)
    for number in range(BURST_LINES + 3):
        budget.admit(Entry("stdout", str(number)))
    clock.now += 10 / LINES_PER_S
    assert numbered(budget.released()) == [str(BURST_LINES + number) for number in range(3)]
    assert numbered(budget.admit(Entry("stdout", "next"))) == ["next"]


def recorded(*writes: tuple[str, bytes], prefix: str = "") -> list[dict[str, object]]:
    bodies: list[dict[str, object]] = []
    recorder = ConsoleRecorder(lambda _, body: bodies.append(body), Masks(), prefix)
    for stream, data in writes:
        recorder.feed(stream, data)
    recorder.flush()
    return bodies


def test_records_are_numbered_and_say_their_stream_and_their_rank() -> None:
    assert recorded(("stdout", b"a\nb"), ("stderr", b"warn\n"), ("stdout", b"c\n"), prefix="[rank 1] ") == [
        {"stream": "stdout", "line": 1, "text": "[rank 1] a"},
        {"stream": "stderr", "line": 2, "text": "[rank 1] warn"},
        {"stream": "stdout", "line": 3, "text": "[rank 1] bc"},
    ]


def test_a_line_of_nothing_but_moves_of_the_cursor_is_no_line() -> None:
    assert recorded(("stdout", b"\x1b[1A\n\nend\n")) == [
        {"stream": "stdout", "line": 1, "text": ""},
        {"stream": "stdout", "line": 2, "text": "end"},
    ]


def test_of_a_flood_in_large_pieces_every_line_is_kept_or_counted() -> None:
    lines = 200_000
    bodies = recorded(("stdout", b"".join(b"%d\n" % number for number in range(lines))), ("stdout", b"1\n" * lines))
    said = [str(body["text"]) for body in bodies if "lines cut" in str(body["text"])]
    assert sum(int(text.split()[1]) for text in said) + len(bodies) - len(said) == 2 * lines


def test_secrets_are_masked_also_where_a_line_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "s3cr3t-value-of-mine")
    filler = b"x" * (MAX_LINE_BYTES - 8)
    [short, long, address] = recorded(
        ("stdout", b"key s3cr3t-value-of-mine\n" + filler + b"s3cr3t-value-of-mine\nhttps://me:pass@host/x\n")
    )
    assert short["text"] == "key ***"
    assert "s3cr" not in str(long["text"])
    assert address["text"] == "https://***@host/x"


def test_a_secret_that_is_written_in_pieces_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "s3cr3t-value-of-mine")
    bodies = recorded(("stdout", b"key s3cr3t-va"), ("stderr", b"between\n"), ("stdout", b"lue-of-mine!\n"))
    assert [body["text"] for body in bodies] == ["between", "key ***!"]


def test_secrets_that_are_learned_are_masked_and_told_once() -> None:
    told: list[str] = []
    masks = Masks(["first-secret"])
    masks.tell(told.extend)
    masks.learn(["first-secret", "first-secret-and-more"])
    masks.learn(["first-secret-and-more", "short"])
    assert told == ["first-secret-and-more"]
    assert masks.learned == ("first-secret", "first-secret-and-more")
    assert masks.masked("first-secret-and-more, first-secret") == "***, ***"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("--api-key abc --lr 0.1", "--api-key *** --lr 0.1"),
        ("--token=def --hf_token --verbose", "--token=*** --hf_token --verbose"),
        ("--passphrase abc -pwd=x", "--passphrase *** -pwd=***"),
        ("hub.api_key=abc +db.password=x model.size=3", "hub.api_key=*** +db.password=*** model.size=3"),
        ('--config {"api_key":"abc","lr":"x"}', '--config {"api_key":"***","lr":"x"}'),
        ("--url https://me:p@ss@host/x", "--url https://***@host/x"),
        ("password then", "password then"),
    ],
)
def test_secrets_are_masked_in_a_command(command: str, shown: str) -> None:
    assert Masks().masked_command(command.split()) == shown.split()
