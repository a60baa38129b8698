"""What goes through a console's channels comes out whole."""

import os
import threading

from flashtrial.tracking.capture.redirection import write_all


def test_a_reader_that_is_slow_gets_all_also_where_somebody_made_its_pipe_one_that_does_not_wait() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    data = os.urandom(1_000_000)
    found: list[bytes] = []

    def read() -> None:
        while more := os.read(read_end, 65536):
            found.append(more)

    reader = threading.Thread(target=read)
    reader.start()
    assert write_all(write_end, data)
    os.close(write_end)
    reader.join()
    os.close(read_end)
    assert b"".join(found) == data


def test_who_reads_no_more_is_known() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    assert not write_all(write_end, b"x")
    os.close(write_end)
