"""Work that no answer waits for."""

import threading

from flashtrial.worker.install.background import Background


def fail() -> None:
    raise OSError("the volume is gone")


def test_work_is_done_in_order_and_a_failure_costs_only_itself() -> None:
    background, done = Background("test-background"), list[int]()
    background.submit("one", lambda: done.append(1))
    background.submit("fails", fail)
    background.submit("two", lambda: done.append(2))
    assert background.close(10)
    assert done == [1, 2]
    assert background.failures == 1


def test_close_without_work_is_at_once_and_may_be_repeated() -> None:
    background = Background("test-background")
    assert background.close(0)
    assert background.close(0)


def test_long_work_is_told_to_stop_when_the_deadline_is_over() -> None:
    background, later = Background("test-background"), list[int]()
    started = threading.Event()

    def long() -> None:
        started.set()
        background.stopping.wait(30)

    background.submit("long", long)
    background.submit("later", lambda: later.append(1))
    assert started.wait(10)
    assert not background.close(0)
    assert later == []
