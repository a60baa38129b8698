"""Pluto's filters and orders of runs."""

from typing import Any

import pytest

from flashtrial.server.neighbours.permits import NoPermit, checked, signed
from flashtrial.server.neighbours.pluto.filter import BadFilter, in_order, matches

pytestmark = pytest.mark.unit

RUN: dict[str, Any] = {
    "name": "first",
    "status": "COMPLETED",
    "tags": ["a", "b"],
    "config": {"net": {"depth": 3}, "dotted.key": 1},
    "summaryMetrics": {"val/loss": 0.5},
    "createdAt": "2026-01-02T03:04:05.000Z",
    "updatedAt": "2026-01-02T03:04:06.000Z",
}


@pytest.mark.parametrize(
    "term",
    [
        {},
        {"state": "completed"},
        {"name": {"$regex": "^fir.*t$"}},
        {"tags": "a"},
        {"tags": {"$in": ["b", "c"]}},
        {"tags": {"$nin": ["c"]}},
        {"config.net.depth": {"$gte": 3, "$lt": 4}},
        {"config.dotted.key": 1},
        {"summary_metrics.val/loss": {"$lte": 0.5}},
        {"created_at": {"$lt": "2026-01-02T04:04:05+00:00"}},
        {"$or": [{"name": "x"}, {"$not": {"name": "y"}}]},
        {"$and": [{"name": "first"}, {"status": {"$ne": "FAILED"}}]},
    ],
)
def test_what_matches(term: dict[str, Any]) -> None:
    assert matches(RUN, term)


@pytest.mark.parametrize(
    "term", [{"name": "second"}, {"config.none": 1}, {"config.net.depth": {"$gt": "x"}}, {"tags": {"$nin": ["a"]}}]
)
def test_what_does_not_match(term: dict[str, Any]) -> None:
    assert not matches(RUN, term)


@pytest.mark.parametrize("term", [{"$nor": []}, {"unknown": 1}, {"name": {"$where": "1"}}, [], {"$and": [1]}])
def test_what_is_no_filter_is_said_to_be_none(term: object) -> None:
    with pytest.raises(BadFilter):
        matches(RUN, term)


def test_runs_without_the_field_come_last_either_way() -> None:
    runs: list[dict[str, Any]] = [
        {"name": "a", "config": {"lr": 1}},
        {"name": "b", "config": {}},
        {"name": "c", "config": {"lr": 2}},
    ]
    assert [run["name"] for run in in_order(runs, "-config.lr.value")] == ["c", "a", "b"]
    assert [run["name"] for run in in_order(runs, "+config.lr")] == ["a", "c", "b"]


def test_a_permit_is_good_for_one_purpose_and_one_day() -> None:
    permit = signed(b"secret", "put", {"run": "r"}, 1000)
    assert checked(b"secret", "put", permit, 2000)["run"] == "r"
    for secret, purpose, text, now_ms in (
        (b"other", "put", permit, 2000),
        (b"secret", "get", permit, 2000),
        (b"secret", "put", permit, 1000 + 25 * 3600 * 1000),
        (b"secret", "put", permit[:-3], 2000),
        (b"secret", "put", "é", 2000),
        (b"secret", "put", "", 2000),
    ):
        with pytest.raises(NoPermit):
            checked(secret, purpose, text, now_ms)
