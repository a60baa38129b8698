"""The parent's end of a call's output."""

import os

from flashtrial.process.output import OutputPipe
from flashtrial.process.readiness import is_readable


def test_draining_ends_although_somebody_goes_on_writing() -> None:
    def write_more(_data: bytes) -> None:
        os.write(pipe.write_end, b"x" * 4096)
        heard.append(1)
        assert len(heard) < 10_000

    heard: list[int] = []
    pipe = OutputPipe(write_more)
    os.write(pipe.write_end, b"x" * 65536)
    pipe.drain()
    assert heard
    pipe.close()


def test_all_that_was_written_before_is_drained() -> None:
    heard: list[bytes] = []
    pipe = OutputPipe(heard.append)
    os.write(pipe.write_end, b"x" * 65536)
    pipe.drain()
    assert sum(map(len, heard)) == 65536
    pipe.close_write_end()
    pipe.drain()
    assert pipe.ended
    pipe.close()


def test_a_closed_pipe_has_nothing_to_drain() -> None:
    pipe = OutputPipe(lambda _data: None)
    pipe.close()
    pipe.drain()
    pipe.close()


def test_what_is_heard_before_a_chunk_is_read_decides_where_the_chunk_goes() -> None:
    before: list[bytes] = []
    after: list[bytes] = []
    pipe = OutputPipe(before.append)
    os.write(pipe.write_end, b"chunk")
    pipe.take_one(lambda: pipe.redirect(after.append))
    assert (before, after) == ([], [b"chunk"])
    pipe.close()


def test_nothing_is_heard_between_the_reading_of_a_chunk_and_its_handing_on() -> None:
    """A child that waits until all is read, and says then where the next goes, does not take along what came before."""
    heard: list[bytes] = []
    pipe = OutputPipe(heard.append)
    os.write(pipe.write_end, b"of the first")

    def look() -> None:
        assert is_readable(pipe.read_end), "the child would go on"
        os.write(pipe.write_end, b"of the second")

    pipe.take_one(look)
    assert heard == [b"of the first"]
    pipe.take_one()
    assert heard == [b"of the first", b"of the second"]
    pipe.close()


def test_what_is_drained_before_a_chunk_is_read_comes_once_and_in_order() -> None:
    heard: list[bytes] = []
    pipe = OutputPipe(heard.append)
    os.write(pipe.write_end, b"first")

    def answered() -> None:
        os.write(pipe.write_end, b"second")
        pipe.drain()

    pipe.take_one(answered)
    assert b"".join(heard) == b"firstsecond"
    assert not pipe.ended
    pipe.take_one(pipe.close)
    assert pipe.ended
