"""Trainers as processes of their own, the sync process that is started for them, and servers, good and bad."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from flashtrial.core.files import ensure_private_dir
from flashtrial.protocol.records import Record, decode_batches, decode_record, read_frames
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.backends.native import HEARTBEAT_PATH
from flashtrial.tracking.journal.outbox import is_locked, lock_path
from flashtrial.tracking.journal.reader import JournalReader
from flashtrial.tracking.journal.sync_start import ensure_sync_process
from testkit import wait_until
from testkit.leaks import kill_all, processes_of_home
from testkit.tracking_server import TrackingClient, tracking_server

TIMEOUT_S = 45
# Where no test's server is. Without an address it would be the default port, where a developer's own instance may be.
NOWHERE = "http://127.0.0.1:9"
# Runs without what is captured beside them.
ALONE = {"FLASHTRIAL_CONSOLE": "0", "FLASHTRIAL_FACTS": "0", "FLASHTRIAL_SYSTEM_MONITOR": "0"}


class Lab:
    """One home: runs scripts that log, starts sync processes, looks at what is on the disk."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.outbox = home / "outbox"
        self.url: str | None = None
        self._started: list[subprocess.Popen[str]] = []

    def environment(self, given: Mapping[str, str] | None = None) -> dict[str, str]:
        own = {"FLASHTRIAL_HOME": str(self.home), **({"FLASHTRIAL_URL": self.url} if self.url else {})}
        if not self.url:
            with contextlib.suppress(OSError):  # a home that is read-only
                self.place_instance(NOWHERE)
        return {**os.environ, **ALONE, **own, **(given or {})}

    def place_instance(self, url: str) -> None:
        """The instance of this home is at `url` now, for runs that name no server."""
        ensure_private_dir(self.home)
        (self.home / "instance.json").write_text(json.dumps({"url": url}))

    def start(self, script: str, **given: str) -> subprocess.Popen[str]:
        """A process that runs `script`, in a session of its own; the caller waits for it.

        What is left of its session when the test is over, however it ended, is ended then.
        """
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            env=self.environment(given),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end_all(self) -> None:
        """End whatever runs with this home, and every process of the sessions that `start` began.

        Again until nothing is left: a trainer that is being killed may be starting a companion or a sync process.
        """
        self.end_started()
        wait_until(self._nothing_is_left, what="processes of this home to go")

    def _nothing_is_left(self) -> bool:
        left = processes_of_home(self.home)
        kill_all(left)
        return not left and not is_locked(lock_path(self.outbox), shared=False)

    def end_started(self) -> None:
        """End every process of the sessions that `start` began, grandchildren too."""
        sessions = {process.pid for process in self._started}
        kill_all(_members_of(sessions))
        for process in self._started:
            process.kill()
            process.wait(TIMEOUT_S)
            for stream in filter(None, (process.stdout, process.stderr)):
                stream.close()
        wait_until(lambda: not _members_of(sessions), what="killed sessions to go")

    def run(self, script: str, **given: str) -> "Ended":
        """The end of a process that ran `script`."""
        with self.start(script, **given) as process:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        return Ended(process.returncode, output, errors)

    def start_sync(self, **given: str) -> int:
        """The pid of a new sync process."""
        self.outbox.mkdir(parents=True, exist_ok=True)
        pid = ensure_sync_process(self.outbox, self.environment(given))
        assert pid is not None, "one is running already"
        return pid

    def sync_processes(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def wait_until_synced(self) -> None:
        """Until the sync process has sent everything and ended."""
        wait_until(lambda: not self._syncs(), TIMEOUT_S, "the sync process to end")

    def end_sync(self) -> None:
        for process in self.sync_processes():
            process.kill()
        wait_until(lambda: not self._syncs(), what="killed sync processes to go")

    def records(self) -> list[Record]:
        """All records that are still in the outbox, by writer."""
        found: list[Record] = []
        for path in sorted(self.outbox.glob("*.journal")):
            reader = JournalReader.open(path)
            stretch = reader.read(0, 1 << 30)
            header = reader.header
            payloads = read_frames(stretch.data) if stretch else ()
            found += [decode_record(header.run_id, header.writer_id, payload) for payload, _ in payloads]
        return found

    def _syncs(self) -> bool:
        """A dying process has no command line any more, and its lock for a moment still."""
        return bool(self.sync_processes()) or is_locked(lock_path(self.outbox), shared=False)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            words = process.cmdline()
            return "flashtrial.tracking.sending.sync_main" in words and str(self.outbox) in words
        except psutil.Error:
            return False


class Ended:
    """How a script ended and what it printed."""

    def __init__(self, status: int, output: str, errors: str) -> None:
        self.status = status
        self.output = output
        self.errors = errors

    def __repr__(self) -> str:
        return f"exit status {self.status}\n{self.output}\n{self.errors}"


@pytest.fixture
def lab(flashtrial_home: Path) -> Iterator[Lab]:
    """Without a server; `server` gives it one. Trainers, companions and sync processes that a test left are ended."""
    lab = Lab(flashtrial_home)
    try:
        yield lab
    finally:
        lab.end_all()


@pytest.fixture
def server(lab: Lab, tmp_path: Path) -> Iterator[TrackingClient]:
    """The real server, to which the lab's processes send."""
    with tracking_server(tmp_path / "server-home") as client:
        lab.url = f"http://127.0.0.1:{client.port}"
        yield client


@pytest.fixture
def port() -> Iterator[int]:
    """At which nobody listens until the test lets a server do so, once or several times.

    It is bound meanwhile, and so not given to anybody else who asks for any port; with this option a server may bind to
    it beside us, as servers that restart do.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed in the middle is what these tests are about."""


class StandIn:
    """An ingest route of the test's own: stores like the server, or answers what the test says first.

    `whim` is given each such request before its body is read, and may deal with all of it: then it says True.
    """

    def __init__(self, port: int = 0) -> None:
        self.backend = MemoryBackend()
        self.faults: list[tuple[int, dict[str, str], bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.heartbeats: list[dict[str, Any]] = []
        self.token: str | None = None  # without it nothing is taken
        self.whim: Callable[[BaseHTTPRequestHandler], bool] = lambda _request: False
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                if self.path != HEARTBEAT_PATH and stand_in.whim(self):
                    return
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == HEARTBEAT_PATH:
                    status, headers, answer = stand_in.hear(body)
                else:
                    stand_in.headers.append(dict(self.headers))
                    status, headers, answer = stand_in.judge(self.headers.get("Authorization"), body)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "StandIn":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def judge(self, shown: str | None, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """401 for who does not show the token."""
        if self.token and shown != f"Bearer {self.token}":
            return 401, {}, b""
        return self.answer(body)

    def hear(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Any heartbeat is taken, also while there are `faults`."""
        self.heartbeats.append(json.loads(body))
        return 200, {"Content-Type": "application/json"}, b"{}"

    def notices(self, state: str) -> list[dict[str, Any]]:
        """What was heard of writers that are ``alive`` or ``gone``."""
        return [writer for beat in self.heartbeats for writer in beat["writers"] if writer["state"] == state]

    def answer(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self.faults:
            return self.faults.pop(0)
        receipts = self.backend.send(decode_batches(body))
        results: list[dict[str, Any]] = [
            {"stored": receipt.stored, "duplicates": receipt.duplicates, "refused": []} for receipt in receipts
        ]
        return 200, {"Content-Type": "application/json"}, json.dumps({"results": results}).encode()


def _members_of(sessions: set[int]) -> list[psutil.Process]:
    """The living processes of these sessions. A zombie is nobody to end."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the whole group of a process that `Lab.start` made; reaped when this returns."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=TIMEOUT_S)
