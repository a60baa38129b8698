"""Waiting for a condition up to a deadline: the one way a test waits for another process or thread."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05


def wait_until(condition: Callable[[], T], timeout_s: float = 10.0, what: str = "the condition") -> T:
    """The first truthy value of `condition`, asked again and again in this thread.

    Raises `AssertionError` naming `what` and the last value when `timeout_s` has passed. What `condition` raises
    is not caught.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while not (value := condition()):
        _give_up_after(deadline, timeout_s, what, value)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return value


async def wait_until_async(
    condition: Callable[[], Awaitable[T] | T], timeout_s: float = 10.0, what: str = "the condition"
) -> T:
    """`wait_until` for the event loop, which goes on meanwhile; `condition` may be a coroutine function."""
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while not (value := await _value_of(condition)):
        _give_up_after(deadline, timeout_s, what, value)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return value


async def _value_of(condition: Callable[[], Awaitable[T] | T]) -> T:
    value = condition()
    return await value if inspect.isawaitable(value) else value


def _give_up_after(deadline: float, timeout_s: float, what: str, value: object) -> None:
    if time.monotonic() >= deadline:
        raise AssertionError(f"waited {timeout_s} s for {what}; at the end it was {value!r}")
