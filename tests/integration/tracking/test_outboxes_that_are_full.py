"""An outage so long that the outbox is full: what matters least goes, it is said, and all the rest arrives."""

import json
import sys
from pathlib import Path

import pytest

from testkit.tracking_server import tracking_server

from .conftest import Lab

pytestmark = pytest.mark.integration

SMALL = {"FLASHTRIAL_OUTBOX_BYTES": "65536", "FLASHTRIAL_SEGMENT_BYTES": "8192"}
# Samples of the system up to nine tenths of the limit; then metrics, until some of the samples had to go.
LOGS = """
import flashtrial, pathlib, time
run = flashtrial.init(run_id="run_1", resume=False)
for number in range(320): run._writer.append("system", {"values": {"cpu": 1.0}, "padding": "x" * 130})
outbox, logged = pathlib.Path(run.settings.outbox), 0
while not list(outbox.glob("*.dropped")):
    run.log({"x": float(logged)}, step=logged)
    logged += 1
    time.sleep(0.1)
report = run.finish(timeout_s=0)
print(logged, report.dropped, report.lost)
"""


def test_the_oldest_samples_make_room_for_metrics_and_are_counted(lab: Lab, tmp_path: Path, port: int) -> None:
    lab.url = f"http://127.0.0.1:{port}"
    ended = lab.run(LOGS, **SMALL)
    assert ended.status == 0, ended
    logged, dropped, lost = map(int, ended.output.split()[:3])
    assert dropped > 0
    assert lost == 0
    with tracking_server(tmp_path / "server", port=port) as server:
        lab.wait_until_synced()
        assert [point[0] for point in server.points("run_1", "x")] == list(range(logged))
        command = [sys.executable, "-m", "flashtrial.cli", "verify", "run_1", "--json"]
        verified = lab.run(f"import os; os.execv({sys.executable!r}, {command!r})")
    said = json.loads(verified.output)
    assert (said["missing"], said["doubled"]) == (0, 0), verified
    assert dropped <= said["dropped"] < 320, "and of the samples no more than it takes"
    assert "system records dropped" in (lab.home / "logs" / "sync.log").read_text()
