"""Requests that become smaller when something on the way takes no larger ones, and larger again."""

from flashtrial.testing.clock import FakeClock
from flashtrial.tracking.sending.settlement import REQUEST_BYTES
from flashtrial.tracking.sending.width import WIDEN_AFTER_S, Width


def test_what_was_refused_is_tried_again_once_a_minute_only() -> None:
    clock = FakeClock()
    width = Width(clock)
    width.refused(REQUEST_BYTES)
    width.refused(width.request_bytes)
    narrow = width.request_bytes
    assert narrow == REQUEST_BYTES // 4
    width.taken(narrow)
    assert width.request_bytes == narrow
    clock.advance(WIDEN_AFTER_S)
    width.taken(narrow)
    assert width.request_bytes == 2 * narrow
    width.refused(width.request_bytes)
    width.taken(narrow)
    assert width.request_bytes == narrow
    clock.advance(WIDEN_AFTER_S)
    for _ in range(3):
        width.taken(width.request_bytes)
    assert width.request_bytes == REQUEST_BYTES
