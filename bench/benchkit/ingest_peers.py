"""Servers and stores of others, given the batches of P12: a real MLflow server, and trackio's store."""

import contextlib
import functools
import json
import math
import socket
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from benchkit.peers import PEERS, SCRIPTS, Subject, environment
from benchkit.processes import PeerFailed, adopting, run
from benchkit.timing import took_s

Shape = tuple[int, int]  # records in a request, metrics in a record
START_DEADLINE_S = 150.0
MOST_METRICS = 1_000  # in one log-batch
HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Figures:
    """What a peer did with each shape, its bytes a point; where it did nothing, why."""

    shapes: dict[Shape, str] = field(default_factory=dict)
    size: str = ""
    missing: str = ""


def figures_of_peers(directory: Path, shapes: Sequence[Shape], quick: bool) -> dict[str, Figures]:
    found = {}
    for name, measure in (("MLflow server", mlflow_figures), ("trackio's store", trackio_figures)):
        try:
            found[name] = measure(directory / name.split("'")[0].replace(" ", "-"), shapes, 2 if quick else 7)
        except (PeerFailed, urllib3.exceptions.HTTPError, OSError) as error:
            found[name] = Figures(missing=f"{error}"[:80])
    return found


def subject(distribution: str) -> Subject:
    return next(peer for peer in PEERS if peer.distribution == distribution)


def told(points: int, seconds: float) -> str:
    return f"{points / seconds:,.0f} points/s"


def trackio_figures(directory: Path, shapes: Sequence[Shape], repeats: int) -> Figures:
    directory.mkdir(parents=True)
    who, result = subject("trackio"), directory / "result.json"
    command = [who.python(), SCRIPTS / "ingest_trackio.py", directory, result, json.dumps(shapes), str(repeats)]
    if run(command, environment(who, directory, {}), directory, 120):
        raise PeerFailed("failed: " + (directory / "said").read_text(errors="replace").strip()[-60:])
    found = json.loads(result.read_bytes())
    rates = {shape: told(math.prod(shape), seconds) for shape, seconds in zip(shapes, found["seconds"], strict=True)}
    return Figures(rates, f"{found['bytes_a_point']:.0f} bytes a point")


def mlflow_figures(directory: Path, shapes: Sequence[Shape], repeats: int) -> Figures:
    """log-batch takes a thousand metrics at most, so a larger request is several here."""
    directory.mkdir(parents=True)
    with mlflow_server(directory) as pool:
        rates, points = {}, 0
        for records, metrics in shapes:
            run_id = post(pool, "runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
            taken = []
            for repeat in range(repeats):
                batches = [
                    json.dumps({"run_id": run_id, "metrics": batch}).encode()
                    for batch in batched(repeat * records, records, metrics)
                ]
                taken.append(took_s(functools.partial(send_all, pool, batches)))
                points += records * metrics
            rates[records, metrics] = told(records * metrics, statistics.median(taken))
    database = directory / "mlflow.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Figures(rates, f"{database.stat().st_size / points:.0f} bytes a point")


def batched(first: int, records: int, metrics: int) -> Iterator[list[dict[str, Any]]]:
    every = [
        {
            "key": f"metric_{number}",
            "value": math.exp(-step / 1e5) + math.sin(step * 12.9898 + number) / 7,
            "timestamp": 1_700_000_000_000 + 250 * step,
            "step": step,
        }
        for step in range(first, first + records)
        for number in range(metrics)
    ]
    for place in range(0, len(every), MOST_METRICS):
        yield every[place : place + MOST_METRICS]


def send(pool: urllib3.HTTPConnectionPool, path: str, body: bytes) -> bytes:
    answer = pool.request("POST", f"/api/2.0/mlflow/{path}", body=body, headers=HEADERS)
    if answer.status != 200:
        raise PeerFailed(f"{path} answered {answer.status}")
    return bytes(answer.data)


def send_all(pool: urllib3.HTTPConnectionPool, batches: list[bytes]) -> None:
    for each in batches:
        send(pool, "runs/log-batch", each)


def post(pool: urllib3.HTTPConnectionPool, path: str, body: dict[str, Any]) -> Any:
    return json.loads(send(pool, path, json.dumps(body).encode()))


@contextlib.contextmanager
def mlflow_server(directory: Path) -> Iterator[urllib3.HTTPConnectionPool]:
    """One worker, SQLite behind it. It takes half a minute to start."""
    who = subject("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    command = [who.python().parent / "mlflow", "server", "--backend-store-uri", f"sqlite:///{directory}/mlflow.db"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    variables = environment(who, directory, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    with adopting(), (directory / "said").open("wb") as said:
        words = [str(word) for word in command]
        server = subprocess.Popen(
            words, cwd=directory, env=variables, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        with urllib3.HTTPConnectionPool("127.0.0.1", port, maxsize=1, retries=False, timeout=60) as pool:
            wait_until_healthy(pool, server)
            yield pool


def wait_until_healthy(pool: urllib3.HTTPConnectionPool, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            if pool.request("GET", "/health").status == 200:
                return
        time.sleep(0.2)
    raise PeerFailed(f"its server did not start within {START_DEADLINE_S:.0f} s")
