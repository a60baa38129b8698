"""A server process killed while it stores: what it acknowledged is there once, what it did not can be sent again."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from flashtrial.protocol.records import Batch, encode_batches, encode_record
from flashtrial.server.views import read_runs, verify_counts
from testkit.tracking_server import TrackingClient, batch, metric
from testkit.waiting import wait_until

SCRIPT = Path(__file__).with_name("serve_until_killed.py")
RECORDS_A_BATCH = 40


@contextlib.contextmanager
def _server_process(home: Path, port_file: Path) -> Iterator[tuple[subprocess.Popen[bytes], TrackingClient]]:
    port_file.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(port_file)], env={**os.environ, "FLASHTRIAL_HOME": str(home)}
    )
    try:
        wait_until(lambda: port_file.exists() or process.poll() is not None, 30, "the server's port")
        assert process.poll() is None
        client = TrackingClient(int(port_file.read_text()))
        yield process, client
        client.close()
    finally:
        process.kill()
        process.wait(10)


def _batches(writer_id: str, count: int) -> list[Batch]:
    """`count` batches of one writer, metrics and console lines in turn."""
    frames = [
        metric(seq, {"x": seq})
        if seq % 2
        else encode_record(seq, "console", seq, {"stream": "stdout", "line": seq, "text": "x"})
        for seq in range(1, count * RECORDS_A_BATCH + 1)
    ]
    pieces = range(0, len(frames), RECORDS_A_BATCH)
    return [batch("r", *frames[start : start + RECORDS_A_BATCH], writer_id=writer_id) for start in pieces]


class _Sender(threading.Thread):
    """Sends one writer's batches in order, as fast as they are acknowledged, until there is no answer any more."""

    def __init__(self, client: TrackingClient, pending: list[Batch]) -> None:
        super().__init__()
        self._client = client
        self._pending = pending
        self.acknowledged = 0

    def run(self) -> None:
        for one in self._pending:
            try:
                answer = self._client.post(encode_batches([one]))
            except urllib3.exceptions.HTTPError:
                return
            if answer.status != 200:
                return
            self.acknowledged += 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_was_acknowledged_before_a_kill_is_stored_once(flashtrial_home: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    writers = {f"w{number}": _batches(f"w{number}", 60) for number in range(3)}
    with _server_process(flashtrial_home, tmp_path / "port") as (process, client):
        senders = {writer_id: _Sender(client, batches) for writer_id, batches in writers.items()}
        for sender in senders.values():
            sender.start()
        enough = rng.randint(1, 60)
        wait_until(lambda: sum(sender.acknowledged for sender in senders.values()) >= enough, 30, "acknowledgements")
        process.send_signal(signal.SIGKILL)
        for sender in senders.values():
            sender.join(30)
    _assert_acknowledged_are_stored(flashtrial_home, {w: sender.acknowledged for w, sender in senders.items()})
    with _server_process(flashtrial_home, tmp_path / "port") as (_, client):
        for writer_id, batches in writers.items():
            # as the sync process does: from behind the last receipt on
            client.ingest(*batches[senders[writer_id].acknowledged :])
    _assert_everything_is_stored_once(flashtrial_home, len(writers), 60 * RECORDS_A_BATCH)


def _assert_acknowledged_are_stored(home: Path, acknowledged: dict[str, int]) -> None:
    stored = {count["writer_id"]: count["stored"] for count in verify_counts(home / "server.db", "r")}
    for writer_id, batches in acknowledged.items():
        assert stored.get(writer_id, 0) >= batches * RECORDS_A_BATCH


def _assert_everything_is_stored_once(home: Path, writers: int, records: int) -> None:
    counts = verify_counts(home / "server.db", "r")
    assert [(count["stored"], count["max_seq"], count["doubled"]) for count in counts] == [
        (records, records, 0)
    ] * writers
    (run,) = read_runs(home / "server.db")
    assert run["points"] == {"x": writers * records // 2}
