"""The page on reliability names tests and fixtures that exist."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_every_test_that_it_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    there = {
        name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert len(named) > 50
    assert named - there == set()


def test_every_fixture_that_it_names_is_there() -> None:
    named = set(re.findall(r"F:(test_\w+)", PAGE))
    assert named - {path.stem for path in (ROOT / "src" / "tests").glob("*.json")} == set()
