"""Names for MLflow are ones that it takes, come back, and never meet."""

import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.tracking.backends.mlflow_names import MAX_CHARS, mlflow_name, own_name, unreserved_name

pytestmark = pytest.mark.unit

TAKEN = re.compile(r"[A-Za-z0-9_\-.:/ ]+")
TRICKY = st.text(alphabet="_x40é@/. ab", max_size=30)
ANY = st.text(max_size=60)


def is_taken(name: str) -> bool:
    """As MLflow's own validation has it."""
    normal = posixpath.normpath(name)
    return bool(TAKEN.fullmatch(name)) and normal == name and not normal.startswith(("..", "/")) and normal != "."


@given(st.one_of(TRICKY, ANY))
def test_a_name_is_taken_and_comes_back(name: str) -> None:
    given_name = mlflow_name(name)
    assert len(given_name) <= MAX_CHARS
    assert is_taken(given_name)
    if "_xx_" not in given_name:
        assert own_name(given_name) == name


@given(TRICKY, TRICKY)
def test_two_names_never_meet(one: str, other: str) -> None:
    assert (mlflow_name(one) == mlflow_name(other)) == (one == other)


@pytest.mark.parametrize("name", ["loss", "train/loss", "a.b-c:d e", "sys/cpu.percent"])
def test_usual_names_stay_as_they_are(name: str) -> None:
    assert mlflow_name(name) == name


def test_long_names_are_cut_and_stay_apart() -> None:
    one, other = mlflow_name("n" * 400 + "a"), mlflow_name("n" * 400 + "b")
    assert len(one) == len(other) == MAX_CHARS
    assert one != other


RESERVED = ("mlflow.", "ab/")


@given(st.one_of(TRICKY, ANY.map(lambda name: f"mlflow.{name}"), TRICKY.map(lambda name: f"ab/{name}")))
def test_a_name_that_is_reserved_is_written_otherwise_and_comes_back(name: str) -> None:
    given_name = unreserved_name(name, RESERVED)
    assert not given_name.startswith(RESERVED)
    assert is_taken(given_name)
    if "_xx_" not in given_name:
        assert own_name(given_name) == name
