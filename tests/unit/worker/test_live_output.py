"""What is told of a call while it runs."""

from hypothesis import given
from hypothesis import strategies as st

from flashtrial.worker.loop.live_output import TAIL_BYTES, LiveOutput, Streaming


@given(st.lists(st.binary(max_size=TAIL_BYTES * 2), max_size=8))
def test_the_tail_is_the_end_of_all_that_was_said(parts: list[bytes]) -> None:
    live = LiveOutput(lambda _value: None)
    for part in parts:
        live.output(part)
    said = b"".join(parts)
    assert live.total_bytes == len(said)
    assert said.decode("utf-8", "backslashreplace").endswith(live.tail())
    assert len(live.tail()) <= 4 * TAIL_BYTES


def test_a_character_that_was_cut_is_left_out() -> None:
    live = LiveOutput(lambda _value: None)
    live.output("é".encode() * TAIL_BYTES + b"x")
    assert set(live.tail()) == {"é", "x"}


def test_the_whole_output_is_in_the_answer_and_the_workers_lines_too() -> None:
    live = LiveOutput(lambda _value: None)
    live.output(b"user")
    live.append_line("worker")
    assert live.text() == live.tail() == "user\nworker\n"


def test_yielded_values_are_handed_on_as_json() -> None:
    given: list[bytes] = []
    live = LiveOutput(given.append)
    Streaming(live, is_json=True).yielded(b'{"a": 1}')
    Streaming(live, is_json=False).yielded(b"gASVAAAA")
    Streaming(live, is_json=True).output(b"said")
    assert given == [b'{"a": 1}', b'"gASVAAAA"']
    assert live.text() == "said"
    assert not live.streams
    assert Streaming(live, is_json=True).streams
