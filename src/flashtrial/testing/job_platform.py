"""The platform's side of RunPod's job protocol, for tests and benchmarks of workers: scripted, in threads, on loopback.

Standard library only. It hands out the jobs that it was given, in order, as many as a poll asks for, and notes with
its time each thing that a worker says. What it answers to reports can be scripted: refusals, resets.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

POLL_HOLD_S: Final = 5.0
_RESET: Final = 0


class Kind(StrEnum):
    """What a worker said."""

    POLL = "job-take"
    BATCH_POLL = "job-take-batch"  # noted as a poll
    STOP_POLL = "job-stop"
    DONE = "job-done"
    PROGRESS = "progress"
    CHUNK = "job-stream"
    PING = "ping"


@dataclass(frozen=True, slots=True)
class Said:
    """One request of a worker; `job_id` is of reports, and of polls the job they were answered with."""

    kind: Kind
    worker_id: str
    job_id: str
    body: Any
    at_s: float


@dataclass(slots=True)
class _State:
    jobs: deque[tuple[str, bytes]] = field(default_factory=deque)
    stops: dict[str, list[str]] = field(default_factory=dict)
    heard: list[Said] = field(default_factory=list)
    open_polls: int = 0
    is_closing: bool = False


class JobPlatform:
    """A platform at `url`. Thread-safe; made by `job_platform`.

    `answers` gives the HTTP status for a report (0: the connection is reset); it is asked before the report is noted,
    and what it refuses is not noted as done.
    """

    def __init__(self, url: str, answers: Callable[[Kind, str], int]) -> None:
        self.url = url
        self.hold_s = POLL_HOLD_S
        self._answers = answers
        self._state = _State()
        self._changed = threading.Condition()

    def environment(self, worker_id: str) -> dict[str, str]:
        """The variables that make a worker work for this platform."""
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{self.url}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{self.url}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{self.url}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{self.url}/ping/$RUNPOD_POD_ID",
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_POD_ID": worker_id,
            "RUNPOD_AI_API_KEY": "test-key",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
            "RUNPOD_DEBUG_LEVEL": "INFO",
        }

    def submit(self, job_id: str, job_input: Mapping[str, Any]) -> None:
        """Queue a job; the same id twice is a job that is delivered twice."""
        self.submit_raw(json.dumps({"id": job_id, "input": job_input}).encode(), job_id)

    def submit_raw(self, body: bytes, job_id: str = "") -> None:
        """Queue these bytes in a job's place."""
        with self._changed:
            self._state.jobs.append((job_id, body))
            self._changed.notify_all()

    def stop(self, worker_id: str, job_id: str) -> None:
        """Have the worker told to stop the job."""
        with self._changed:
            self._state.stops.setdefault(worker_id, []).append(job_id)
            self._changed.notify_all()

    def heard(self, kind: Kind, job_id: str | None = None) -> list[Said]:
        """What was said so far, of one kind, about one job or about all."""
        with self._changed:
            return [one for one in self._state.heard if one.kind is kind and job_id in (None, one.job_id)]

    def taken_by(self, worker_id: str) -> list[str]:
        """The jobs that the worker was handed, in order."""
        return [one.job_id for one in self.heard(Kind.POLL) if one.worker_id == worker_id and one.job_id]

    def answer(self, job_id: str) -> dict[str, Any] | None:
        """The body of the first answer to the job; None when there is none yet."""
        done = self.heard(Kind.DONE, job_id)
        return done[0].body if done else None

    def close(self) -> None:
        """Let go of those who wait."""
        with self._changed:
            self._state.is_closing = True
            self._changed.notify_all()

    @property
    def open_polls(self) -> int:
        """How many polls for jobs are being held."""
        with self._changed:
            return self._state.open_polls

    def _take(self, worker_id: str, limit: int) -> list[bytes]:
        with self._changed:
            self._state.open_polls += 1
            self._changed.wait_for(lambda: self._state.jobs or self._state.is_closing, self.hold_s)
            self._state.open_polls -= 1
            taken = [self._state.jobs.popleft() for _ in range(min(limit, len(self._state.jobs)))]
            for job_id, _ in taken or [("", b"")]:
                self._state.heard.append(Said(Kind.POLL, worker_id, job_id, None, time.monotonic()))
            return [body for _, body in taken]

    def _stops(self, worker_id: str) -> list[str]:
        with self._changed:
            stops = self._state.stops
            self._changed.wait_for(lambda: stops.get(worker_id) or self._state.is_closing, self.hold_s)
            return stops.pop(worker_id, [])

    def _note(self, kind: Kind, worker_id: str, job_id: str, raw: bytes) -> int:
        body: Any = json.loads(raw) if raw else {}
        if kind is Kind.DONE and body.get("status") == "IN_PROGRESS":
            kind = Kind.PROGRESS
        status = self._answers(kind, job_id)
        if status == 200:
            with self._changed:
                self._state.heard.append(Said(kind, worker_id, job_id, body, time.monotonic()))
        return status


def accept(_kind: Kind, _job_id: str) -> int:
    """Take whatever is reported."""
    return 200


@contextmanager
def job_platform(answers: Callable[[Kind, str], int] = accept) -> Iterator[JobPlatform]:
    """A platform on a free port of this machine, until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Requests)
    platform = JobPlatform(f"http://127.0.0.1:{server.server_address[1]}", answers)
    server.RequestHandlerClass = type("Requests", (_Requests,), {"platform": platform})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield platform
    finally:
        platform.close()
        server.shutdown()
        thread.join()
        server.server_close()


class _Requests(BaseHTTPRequestHandler):
    platform: JobPlatform
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def do_GET(self) -> None:
        kind, worker_id, job_id = self._parts()
        match kind:
            case Kind.POLL:
                self._say(next(iter(self.platform._take(worker_id, 1)), None))  # noqa: SLF001 - its own half
            case Kind.BATCH_POLL:
                jobs = self.platform._take(worker_id, int(parse_qs(urlsplit(self.path).query)["batch_size"][0]))  # noqa: SLF001
                self._say(b"[" + b",".join(jobs) + b"]" if jobs else None)
            case Kind.STOP_POLL:
                stops = self.platform._stops(worker_id)  # noqa: SLF001
                self._say(json.dumps({"jobsToStop": stops}).encode() if stops else None)
            case _:
                self.platform._note(kind, worker_id, job_id, b"")  # noqa: SLF001
                self._say(b"{}")

    def do_POST(self) -> None:
        kind, worker_id, job_id = self._parts()
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.platform._note(kind, worker_id, job_id, raw)  # noqa: SLF001
        if status == _RESET:
            self.close_connection = True
        else:
            self._say(b"{}", status)

    def _parts(self) -> tuple[Kind, str, str]:
        _, kind, worker_id, *job_id = urlsplit(self.path).path.split("/")
        return Kind(kind), worker_id, job_id[0] if job_id else ""

    def _say(self, body: bytes | None, status: int = 200) -> None:
        self.send_response(204 if body is None else status)
        if body is not None:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is not None:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""
