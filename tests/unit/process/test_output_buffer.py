"""What a call's user sees of its output."""

from flashtrial.process.output import KEPT_BYTES, OutputBuffer


def test_bytes_that_are_no_text_are_shown_as_escapes_and_carriage_returns_survive() -> None:
    output = OutputBuffer()
    output.append(b"50%\r100%\n\xff\xfe caf\xc3\xa9\n")
    assert output.text() == "50%\r100%\n\\xff\\xfe café\n"


def test_a_line_of_the_workers_own_never_continues_the_users_open_line() -> None:
    output = OutputBuffer()
    output.append(b"loading")
    output.append_line("[flashtrial] ready")
    output.append_line("[flashtrial] steady")
    assert output.text() == "loading\n[flashtrial] ready\n[flashtrial] steady\n"


def test_a_flood_keeps_its_head_and_its_tail_and_says_how_much_is_missing() -> None:
    output = OutputBuffer()
    output.append(b"first\n")
    for _ in range(64):
        output.append(b"x" * 65536)
    output.append(b"last\n")
    text = output.text()
    assert text.startswith("first\n")
    assert text.endswith("last\n")
    assert "bytes cut" in text
    assert len(text) < KEPT_BYTES + 100


def test_a_character_split_between_two_reads_stays_whole() -> None:
    output = OutputBuffer()
    output.append(b"\xe2\x82")
    output.append(b"\xac\n")
    assert output.text() == "€\n"
