"""The parent's end of a call's output."""

import os

from flashtrial.process.output import OutputPipe


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


def test_what_is_heard_while_a_chunk_is_read_decides_where_the_chunk_goes() -> None:
    before: list[bytes] = []
    after: list[bytes] = []
    pipe = OutputPipe(before.append)
    os.write(pipe.write_end, b"chunk")
    pipe.take_one(lambda: pipe.redirect(after.append))
    assert (before, after) == ([], [b"chunk"])
    pipe.close()


def test_a_chunk_that_was_read_comes_before_what_is_drained_meanwhile() -> None:
    heard: list[bytes] = []
    pipe = OutputPipe(heard.append)
    os.write(pipe.write_end, b"first")

    def answered() -> None:
        os.write(pipe.write_end, b"second")
        pipe.drain()

    pipe.take_one(answered)
    assert heard == [b"first", b"second"]
    pipe.close()
