"""`examples/tracked_training.py` as its reader runs it: once, and once more from its checkpoint."""

import sys
from pathlib import Path

import pytest

from testkit.tracking_server import TrackingClient

from .conftest import Lab

pytestmark = pytest.mark.integration

EXAMPLE = Path(__file__).parents[3] / "examples" / "tracked_training.py"


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
