"""Bounded keeping of a stream."""

from hypothesis import given
from hypothesis import strategies as st

from flashtrial.process.head_and_tail import HeadAndTail

CHUNKS = st.lists(st.text("abc\n", max_size=40).map(str.encode), max_size=30)


@given(CHUNKS)
def test_short_stream_is_kept_whole(chunks: list[bytes]) -> None:
    kept = HeadAndTail(10_000)
    for chunk in chunks:
        kept.add(chunk)
    assert kept.text().encode() == b"".join(chunks)


@given(CHUNKS, st.integers(2, 64))
def test_long_stream_keeps_its_ends_and_says_how_much_is_cut(chunks: list[bytes], limit: int) -> None:
    whole = b"".join(chunks)
    kept = HeadAndTail(limit)
    for chunk in chunks:
        kept.add(chunk)
    half = limit // 2
    if len(whole) <= 2 * half:
        assert kept.text().encode() == whole
    else:
        cut = len(whole) - 2 * half
        assert kept.text().encode() == whole[:half] + f"\n[… {cut} bytes cut …]\n".encode() + whole[-half:]


def test_bytes_that_are_no_utf8_are_shown_as_escapes() -> None:
    kept = HeadAndTail(100)
    kept.add(b"a\xffb")
    assert kept.text() == "a\\xffb"
