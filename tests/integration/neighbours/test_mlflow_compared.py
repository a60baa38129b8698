"""One life told by the real client to MLflow's own file store and to us: the same comes back, but what is named here.

The file store is the plain one of the client's own package, so that no server of MLflow's is needed.
"""

import sys
from pathlib import Path
from typing import Any

import pytest

from testkit.neighbours import mlflow_variables, told, url_of
from testkit.tracking_server import tracking_server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

SCRIPT = Path(__file__).parent / "mlflow_compared_script.py"

# Where the two part: path, what theirs says, what ours says.
REFUSED = "error INVALID_PARAMETER_VALUE"
KNOWN: dict[str, tuple[object, object]] = {
    # More is understood here.
    "searches/attributes.run_name IN ('r1', 'r3')": (REFUSED, ["r3", "r1"]),
    "searches/attributes.run_name NOT IN ('r1', 'r3')": (REFUSED, ["r4", "r2", "r0"]),
    "searches/params.model = 'it''s'": ([], ["r2"]),
    # Names that MLflow's stores refuse are kept.
    "parameters/long_key": (REFUSED, "x"),
    "parameters/bad_key": (REFUSED, "x"),
    "parameters/long_metric": (REFUSED, None),
    "parameters/count": (522, 524),
    # The codes are those of MLflow's database store.
    "parameters/changed": ("error INTERNAL_ERROR", REFUSED),
    "experiments/run_in_it": ("error INVALID_STATE", REFUSED),
}


@pytest.fixture(scope="module")
def told_by_both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("compared")
    file_store = {**mlflow_variables((folder / "mlruns").as_uri()), "MLFLOW_ALLOW_FILE_STORE": "true"}
    theirs = told(sys.executable, SCRIPT, folder / "theirs", file_store)
    with tracking_server(folder / "server-home") as server:
        ours = told(sys.executable, SCRIPT, folder / "ours", mlflow_variables(url_of(server)))
    return theirs, ours


@pytest.mark.parametrize(
    "part",
    ["searches", "pages", "inputs", "lasts", "parameters", "nested", "artifacts", "models", "experiments"],
    ids=str,
)
def test_both_stores_answer_alike(told_by_both: tuple[dict[str, Any], dict[str, Any]], part: str) -> None:
    theirs, ours = (flat(each[part], part) for each in told_by_both)
    assert theirs.keys() == ours.keys()
    differing = {path: (theirs[path], ours[path]) for path in theirs if theirs[path] != ours[path]}
    assert differing == {path: both for path, both in KNOWN.items() if path.startswith(f"{part}/")}


def test_the_last_value_is_that_of_the_highest_step(told_by_both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    for found in told_by_both:
        last = found["lasts"]["last"]
        assert (last["back"], last["same_step"], last["same_time"], last["negative"]) == (2.0, 2.0, 9.0, 1.0)


def flat(value: object, path: str) -> dict[str, object]:
    """Whatever is no map, by its path."""
    if not isinstance(value, dict):
        return {path: value}
    return {name: each for key, below in value.items() for name, each in flat(below, f"{path}/{key}").items()}
