"""MLflow's filters and orders, as its own documentation writes them."""

import math
from typing import Any

import pytest

from flashtrial.server.neighbours.mlflow.errors import MlflowError
from flashtrial.server.neighbours.mlflow.search import holds, parse_filter, parse_order, sort_key

pytestmark = pytest.mark.unit

RUN: dict[str, dict[str, Any]] = {
    "metrics": {"loss": 0.5, "a b": 2.0, "nan": math.nan},
    "params": {"lr": "0.1", "model.name": "res'net", "path": "C:\\new\\"},
    "tags": {"mlflow.user": "ada", "team": "blue"},
    "info": {"status": "FINISHED", "run_name": "A run", "start_time": 1000},
}


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "metrics.loss < 0.6",
        "metric.loss >= 5e-1 and params.lr = '0.1'",
        'metrics."a b" = 2',
        "metrics.`a b` != 3 AND tags.team LIKE 'b%'",
        "params.`model.name` = 'res''net'",
        "params.model.name LIKE 'res_net'",
        "params.path LIKE '%\\%' AND params.path = 'C:\\new\\'",
        "tags.mlflow.user = 'ada'",
        "attributes.status = 'FINISHED'",
        "status = 'FINISHED' and attribute.run_name ILIKE 'a r%'",
        "tags.team IN ('red', 'blue')",
        "tags.team NOT IN ('red')",
        "tags.gone IS NULL and tags.team IS NOT NULL",
        "start_time > 999",
    ],
)
def test_what_holds(condition: str) -> None:
    assert holds(RUN, parse_filter(condition))


@pytest.mark.parametrize(
    "condition",
    [
        "metrics.loss > 0.5",
        "metrics.none < 1",
        "metrics.nan < 1",
        "params.lr = '0.2'",
        "tags.team = 'BLUE'",
        "params.lr LIKE '1%'",
    ],
)
def test_what_does_not_hold(condition: str) -> None:
    assert not holds(RUN, parse_filter(condition))


@pytest.mark.parametrize(
    "condition",
    [
        "metrics.loss >",
        "metrics.loss < 1 or metrics.loss > 2",
        "= 3",
        "metrics.loss < (1)",
        "tags.a IN 'x'",
        "x" * 20_000,
        "%",
    ],
)
def test_what_is_no_filter_is_said_to_be_none(condition: str) -> None:
    with pytest.raises(MlflowError) as caught:
        parse_filter(condition)
    assert caught.value.code == "INVALID_PARAMETER_VALUE"


def test_order_puts_nan_and_the_lacking_last_either_way() -> None:
    runs = [{"metrics": {"m": value}} if value is not None else {} for value in (1.0, None, math.nan, 3.0, -math.inf)]
    for said, wanted in (("metrics.m DESC", [3.0, 1.0, -math.inf]), ("metrics.m", [-math.inf, 1.0, 3.0])):
        [(field, descending)] = parse_order([said])
        found = sorted(runs, key=lambda run: sort_key(run, field, descending=descending))
        values = [run.get("metrics", {}).get("m") for run in found]
        assert values[:3] == wanted
        assert math.isnan(values[3] or 0.0)
        assert values[4] is None


def test_texts_are_ordered_both_ways() -> None:
    runs = [{"params": {"p": text}} for text in ("ab", "b", "a")]
    for said, wanted in (("params.p ASC", ["a", "ab", "b"]), ("params.p desc", ["b", "ab", "a"])):
        [(field, descending)] = parse_order([said])
        assert [
            r["params"]["p"] for r in sorted(runs, key=lambda r: sort_key(r, field, descending=descending))
        ] == wanted
