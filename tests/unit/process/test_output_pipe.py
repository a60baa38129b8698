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
