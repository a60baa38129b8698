"""Uploads through deaths on both sides, full disks, and files larger than anybody's memory."""

import contextlib
import hashlib
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flashtrial.tracking.backends.native_files import CHUNK_BYTES
from flashtrial.tracking.media.staging import files_dir
from testkit import wait_until
from testkit.tracking_server import TrackingClient

from .conftest import Lab

SERVER = Path(__file__).parents[1] / "server" / "serve_until_killed.py"
ONE_FILE = """
import flashtrial
run = flashtrial.init(run_id="r")
run.log({"large": flashtrial.Artifact(PATH)})
run.finish(timeout_s=0)
"""


class Relay(socketserver.ThreadingTCPServer):
    """Passes connections on to the port `target`, and counts the bytes that clients send."""

    daemon_threads = True
    block_on_close = True

    def __init__(self) -> None:
        relay = self
        self.target = 0
        self.sent_bytes = 0
        self._lock = threading.Lock()

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    upstream = socket.create_connection(("127.0.0.1", relay.target), timeout=30)
                except OSError:
                    return
                with upstream:
                    back = threading.Thread(target=relay.pump, args=(upstream, self.request, False), daemon=True)
                    back.start()
                    relay.pump(self.request, upstream, True)
                    back.join()

        super().__init__(("127.0.0.1", 0), Handler)

    def pump(self, source: socket.socket, sink: socket.socket, is_counted: bool) -> None:
        """Until either side ends."""
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_counted:
                    with self._lock:
                        self.sent_bytes += len(data)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relay() -> Iterator[Relay]:
    with Relay() as relay:
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield relay
        relay.shutdown()
        thread.join()


class ServerProcess:
    """A server of one home that is killed and started again, each time at another port."""

    def __init__(self, home: Path, port_file: Path) -> None:
        self.home = home
        self._port_file = port_file
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        self._port_file.unlink(missing_ok=True)
        environment = {**os.environ, "FLASHTRIAL_HOME": str(self.home)}
        self._process = subprocess.Popen([sys.executable, str(SERVER), str(self._port_file)], env=environment)
        wait_until(self._port_file.exists, 30, "the server's port")
        return int(self._port_file.read_text())

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path / "server-home", tmp_path / "port")
    yield server
    server.kill()


def test_deaths_of_either_side_cost_a_chunk_at_most(
    lab: Lab, relay: Relay, mortal: ServerProcess, tmp_path: Path
) -> None:
    content = os.urandom(20 * 1024 * 1024)
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "large.bin").write_bytes(content)
    partial = mortal.home / "blobs" / "partial" / f"{digest}-{len(content)}"
    whole = mortal.home / "blobs" / digest[:2] / digest

    def arrived() -> int:
        return len(content) if whole.exists() else partial.stat().st_size if partial.exists() else 0

    def partial_beyond(before: int) -> Callable[[], bool]:
        return lambda: arrived() > before or whole.exists()

    relay.target = mortal.start()
    lab.url = f"http://127.0.0.1:{relay.server_address[1]}"
    assert lab.run(f"PATH = {str(tmp_path / 'large.bin')!r}{ONE_FILE}").status == 0
    deaths = 0
    for kill_server in (True, False):
        wait_until(partial_beyond(arrived()), 30, "a chunk to arrive")
        if whole.exists():
            break
        deaths += 1
        if kill_server:
            mortal.kill()
            relay.target = mortal.start()
        else:
            lab.end_sync()
        if not lab.sync_processes():
            lab.start_sync()
    lab.wait_until_synced()
    assert whole.read_bytes() == content
    assert not partial.exists()
    assert relay.sent_bytes < len(content) + deaths * (CHUNK_BYTES + 4096) + 64 * 1024
    assert list(files_dir(lab.outbox).glob("*")) == []


FULL_DISK = """
import resource, flashtrial
run = flashtrial.init(run_id="r")
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
run.log({"large": flashtrial.Artifact(bytes(range(256)) * 20000), "small": flashtrial.Text("fits"), "loss": 0.5})
print(run.finish().lost)
"""


def test_a_disk_that_takes_no_file_costs_that_file_only(lab: Lab, server: TrackingClient) -> None:
    ended = lab.run(FULL_DISK)
    assert ended.output == "1\n", ended
    assert "could not be staged" in ended.errors
    lab.wait_until_synced()
    assert server.points("r", "loss")[0][2] == 0.5
    files = server.get("/api/v1/runs/r/files").json()["files"]
    assert [(file["name"], file["is_pending"]) for file in files] == [("small", False)]
    assert list(files_dir(lab.outbox).glob("*")) == []


SPARSE = """
import resource, flashtrial
with open(PATH, "wb") as file:
    file.truncate(1 << 30)
    file.seek(1 << 29)
    file.write(b"in the middle")
run = flashtrial.init(run_id="r")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run.log({"large": flashtrial.Artifact(PATH)})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
run.finish(timeout_s=0)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_gibibyte_goes_through_without_being_in_memory(
    lab: Lab, relay: Relay, mortal: ServerProcess, tmp_path: Path
) -> None:
    relay.target = mortal.start()
    lab.url = f"http://127.0.0.1:{relay.server_address[1]}"
    ended = lab.run(f"PATH = {str(tmp_path / 'sparse.bin')!r}{SPARSE}")
    assert ended.status == 0, ended
    assert int(ended.output) < 32 * 1024
    (staged,) = [path for path in files_dir(lab.outbox).iterdir() if "." in path.name]
    assert staged.stat().st_blocks * 512 < 64 * 1024 * 1024
    peak_bytes = 0

    def is_done() -> bool:
        nonlocal peak_bytes
        for process in lab.sync_processes():
            try:
                peak_bytes = max(peak_bytes, process.memory_info().rss)
            except psutil.Error:
                continue
        return not lab.sync_processes()

    wait_until(is_done, 240, "the upload")
    (blob,) = (mortal.home / "blobs").glob("[0-9a-f][0-9a-f]/*")
    assert blob.stat().st_size == 1 << 30
    with blob.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == blob.name
    assert peak_bytes < 150 * 1024 * 1024
