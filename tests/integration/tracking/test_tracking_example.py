"""What is shown of tracking, as its reader runs it: the README, and the example, once more from its checkpoint."""

import re
import sys
from pathlib import Path

import pytest

from testkit.tracking_server import TrackingClient

from .conftest import Lab

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[3]
EXAMPLE = REPOSITORY / "examples" / "tracked_training.py"


def test_the_example_tracks_its_training_and_goes_on_from_its_checkpoint(
    lab: Lab, server: TrackingClient, tmp_path: Path
) -> None:
    words = [sys.executable, str(EXAMPLE), "--folder", str(tmp_path / "example"), "--steps", "40"]
    for more in ([], ["--resume"]):
        ended = lab.run(f"import os; os.execv({sys.executable!r}, {[*words, *more]!r})")
        assert ended.status == 0, ended
        assert "records sent" in ended.output, ended
    lab.wait_until_synced()
    [run] = server.get("/api/v1/runs").json()["runs"]
    assert (run["project"], run["status"], run["tags"]) == ("tracked-training", "finished", ["example"])
    assert [step for step, _, _ in server.points(run["id"], "loss")] == list(range(80))
    files = server.get(f"/api/v1/runs/{run['id']}/files").json()["files"]
    assert {file["name"] for file in files} >= {"checkpoint", "notes"}
    assert run["summary"]["loss"] < 1


def test_the_tracking_that_the_readme_shows_works_as_it_stands(lab: Lab, server: TrackingClient) -> None:
    [block] = re.findall(
        r"<!-- tests/integration/tracking runs this block -->\n```python\n(.*?)```",
        (REPOSITORY / "README.md").read_text(),
        re.DOTALL,
    )
    ended = lab.run(block)
    assert (ended.status, ended.errors) == (0, ""), ended
    lab.wait_until_synced()
    [run] = server.get("/api/v1/runs").json()["runs"]
    assert (run["project"], run["status"], run["config"], run["tags"]) == ("mine", "finished", {"rate": 0.1}, ["first"])
    assert run["points"]["loss"] == 100
