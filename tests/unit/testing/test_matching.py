"""An expectation matches an answer as a subset."""

from typing import Any

import pytest

from flashtrial.testing.matching import differences


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": {"$regex": "b.d"}}, {"a": "a b\nd c"}),
        ([{"a": 1}], [{"a": 1, "b": 0}]),
        ({}, {"anything": True}),
        (None, None),
        (2, 2.0),
    ],
)
def test_what_was_asked_for_is_there(expected: Any, actual: Any) -> None:
    assert differences(expected, actual) == []


@pytest.mark.parametrize(
    ("expected", "actual", "where"),
    [
        ({"a": 1}, {"a": 2}, "answer.a"),
        ({"a": 1}, {}, "answer.a: missing"),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "answer.a.b[1]"),
        ([1], [1, 2], "list of 1"),
        ({"$regex": "x"}, "y", "'x'"),
        ({"$regex": "x"}, None, "None"),
        (True, 1, "True"),
        ({"a": 1}, [1], "an object"),
    ],
)
def test_what_differs_is_named_with_its_place(expected: Any, actual: Any, where: str) -> None:
    problems = differences(expected, actual)
    assert len(problems) == 1
    assert where in problems[0]
