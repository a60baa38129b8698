"""Which runs the rules of retention remove."""

from flashtrial.server.retention import DAY_MS, EndedRun, RetentionRules, removable

NOW_MS = 100 * DAY_MS


def _runs(project: str = "p") -> list[EndedRun]:
    return [EndedRun(f"{project}{day}", project, day * DAY_MS, size_bytes=10) for day in (99, 10, 50)]


def test_without_rules_nothing_is_removed() -> None:
    assert removable(RetentionRules(), _runs(), NOW_MS) == []


def test_runs_older_than_so_many_days_go() -> None:
    assert removable(RetentionRules(days=60), _runs(), NOW_MS) == ["p10"]


def test_the_oldest_go_until_few_enough_are_left_in_each_project() -> None:
    assert removable(RetentionRules(runs=1), [*_runs(), *_runs("q")[:1]], NOW_MS) == ["p10", "p50"]


def test_the_oldest_go_until_the_rest_is_small_enough() -> None:
    assert removable(RetentionRules(size_bytes=20), _runs(), NOW_MS) == ["p10"]
