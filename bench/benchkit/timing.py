"""Times of calls, taken in turn with those of a floor, and how they are told."""

import math
import statistics
import time
from collections.abc import Callable, Sequence


def took_s(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def in_turn(rounds: int, *actions: Callable[[], object]) -> list[list[float]]:
    """Seconds of each of `rounds` calls of every action, one after the other, so that a drift meets them all."""
    taken: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for seconds, action in zip(taken, actions, strict=True):
            seconds.append(took_s(action))
    return taken


def p50_p99(values: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile by nearest rank. Needs a value."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[math.ceil(0.99 * len(ordered)) - 1]


def micros(p50_us: float, p99_us: float) -> str:
    return f"{p50_us:,.1f} / {p99_us:,.1f} µs"


def millis(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms"
