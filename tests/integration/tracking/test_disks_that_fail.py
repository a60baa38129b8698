"""Disks that are full, read-only or dying, below real writers and the real sync loop."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testkit.disks import mounted
from testkit.tracking_server import TrackingClient, batch, metric, state, tracking_server

from .conftest import Lab

pytestmark = pytest.mark.integration

SHIM = Path(__file__).with_name("failing_calls.c")
NO_SYNC = {"FLASHTRIAL_WORKER_ID": "worker_1"}

# One writer and a sync loop beside it, once for each k: the k-th call fails, and what fails is tried again.
EACH_CALL_ONCE = """
import ctypes, pathlib, sys
from flashtrial.protocol.records import JournalHeader
from flashtrial.testing.clock import FakeClock
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.settings.limits import OutboxLimits
from flashtrial.tracking.journal.outbox import Journal, OutboxUnwritable
from flashtrial.tracking.sending.sync import Sync

shim = ctypes.CDLL(None)

def steps(sync, outbox, backend, clock):
    clock.advance(31)
    try:
        sync = sync or Sync(outbox, backend, clock)
        while sync.step():
            pass
    except OSError:  # what ends the process; the next one begins anew
        return None
    return sync

def story(outbox, call, number):
    outbox.mkdir()
    backend = MemoryBackend(refuses=lambda record: "no" if record.body.get("bad") else None)
    clock, acknowledged, journal, sync = FakeClock(), [], None, None
    shim.fault_arm(call.encode(), number, str(outbox).encode())
    for count in range(12):
        try:
            limits = OutboxLimits(segment_bytes=1024)
            journal = journal or Journal.create(outbox, JournalHeader("run_1", "wr_1", {}), limits)
            journal.append("metric", {"x": count, "bad": count == 7, "padding": "x" * 200}, 5)
            acknowledged.append(count)
        except OutboxUnwritable:
            pass
        if count % 3 == 0:
            sync = steps(sync, outbox, backend, clock)
    fired = shim.fault_fired()
    shim.fault_arm(b"", 0, b"")
    journal.append("metric", {"x": -1}, 5)
    journal.close()
    for _ in range(4):
        sync = steps(sync, outbox, backend, clock)
    stored = [record.body["x"] for record in backend.records("run_1")]
    assert stored == [count for count in [*acknowledged, -1] if count != 7], (call, number, stored, acknowledged)
    assert len(acknowledged) >= 11, (call, number)
    assert not list(outbox.glob("*.journal*")), (call, number)
    return fired

for call in ("write", "fsync"):
    number = 1
    while story(pathlib.Path(sys.argv[1]) / f"{call}-{number}", call, number):
        number += 1
    print(call, number)
"""


def test_each_write_and_each_fsync_may_fail_once(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    shim = tmp_path / "failing_calls.so"
    subprocess.run(["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(shim), str(SHIM), "-ldl"], check=True)
    done = subprocess.run(
        [sys.executable, "-c", EACH_CALL_ONCE, str(tmp_path)],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counted = dict(line.split() for line in done.stdout.splitlines())
    assert int(counted["write"]) > 12, "each record, and each cursor"
    assert int(counted["fsync"]) > 1, "the list of what was refused; a cursor may be lost, records are sent again then"


def test_a_disk_that_is_really_full_costs_what_it_cannot_take_and_the_rest_arrives(
    lab: Lab, server: TrackingClient
) -> None:
    script = """
import flashtrial
run = flashtrial.init(run_id="run_1", resume=False)
for number in range(3000):
    run.log({"x": float(number)}, step=number)
print(run._writer.lost, run._writer.last_seq)
"""
    with mounted(lab.outbox, "size=128k,mode=700"):
        ended = lab.run(script, **NO_SYNC)
        assert ended.status == 0, ended
        lost, written = map(int, ended.output.split())
        assert lost > 0
        assert written + lost >= 3001
        assert "a record of run run_1 is lost (1 so far)" in ended.errors
        assert "No space left on device" in ended.errors
        kept = [record.seq for record in lab.records()]
        assert kept[:written] == list(range(1, written + 1))
        lab.start_sync()
        lab.wait_until_synced()
        assert server.get("/api/v1/runs/run_1").json()["points"] == {"x": written - 1}
        assert not list(lab.outbox.glob("*.journal")), "sending is what empties a full disk"


def test_in_a_home_that_is_read_only_init_says_so_and_what_to_do(lab: Lab) -> None:
    with mounted(lab.home, "ro"):
        ended = lab.run("import flashtrial\nflashtrial.init()")
    assert ended.status == 1
    assert "OutboxUnwritable" in ended.errors
    assert "Read-only file system; set FLASHTRIAL_HOME" in ended.errors


def test_a_home_that_is_read_only_is_no_matter_where_the_outbox_is_elsewhere(
    lab: Lab, server: TrackingClient, tmp_path: Path
) -> None:
    with mounted(lab.home, "ro"):
        outbox = str(tmp_path / "elsewhere")
        script = "import flashtrial\nrun = flashtrial.init()\nrun.log({'x': 1.0})\nprint(run.finish())"
        ended = lab.run(script, FLASHTRIAL_OUTBOX=outbox)
        lab.end_all()
    assert "3 of 3 records sent" in ended.output, ended


def test_a_log_of_the_database_that_was_deleted_costs_whole_requests_and_they_can_be_sent_again(tmp_path: Path) -> None:
    """What a server that is killed has not moved into its database yet lies in ``-wal``; the rest must be whole."""
    records = [state(1, "running"), *(metric(seq, {"loss": float(seq)}) for seq in range(2, 502))]
    everything = batch("run_1", *records)
    with tracking_server(tmp_path / "first") as first:
        first.ingest(batch("run_1", *records[:250]))
        first.ingest(everything)
        shutil.copytree(tmp_path / "first", tmp_path / "second")  # as a kill at this moment leaves it
    logs = [*(tmp_path / "second").rglob("*-wal")]
    assert logs
    for log in logs:
        log.unlink()
        log.with_name(log.name.removesuffix("-wal") + "-shm").unlink(missing_ok=True)
    with tracking_server(tmp_path / "second") as second:
        assert second.get("/readyz").status == 200
        [result] = second.ingest(everything)
        assert result["stored"] + result["duplicates"] == 501
        assert [point[0] for point in second.points("run_1", "loss")] == list(range(2, 502))
        assert second.get("/api/v1/runs/run_1").json()["status"] == "running"
