"""A worker's parts, started and stopped again and again in one process, leave nothing behind."""

import random
from pathlib import Path

import pytest

from testkit.lives import WARM_UP, children, held, live, slopes

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

LIVES = 30


def test_thirty_lives_of_a_worker_leave_nothing_behind(tmp_path: Path) -> None:
    rng = random.Random(2026)
    others = children()  # the test run's own
    measured = []
    for number in range(LIVES + WARM_UP):
        live(rng, tmp_path / f"home-{number}")
        measured.append(held(others))
    grown = slopes(measured)
    assert (grown["descriptors"], grown["processes"], grown["threads"]) == (0, 0, 0), grown
    assert grown["objects"] < 0.5, grown  # one that a life left behind would be a slope of 1
    assert grown["resident_bytes"] < 16 * 1024, grown
