"""A local RunPod on a real server in a thread of its own, with workers that run a small handler under the real loop."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from flashtrial.core import env
from flashtrial.local_runpod.app import LocalRunpod
from flashtrial.local_runpod.auth import load_or_make_key
from flashtrial.server.security import HostGuard
from testkit import wait_until
from testkit.ports import free_port

TINY_WORKER = (sys.executable, str(Path(__file__).with_name("tiny_worker.py")))
STARTUP_S = 40.0  # the SDK's import alone is some seconds of CPU

Answer = dict[str, Any]


@dataclass
class Instance:
    """A running local RunPod and a client that has its key."""

    home: Path
    url: str
    key: str
    client: httpx.Client

    def save_endpoint(self, name: str, **fields: object) -> str:
        """The id of the endpoint, made or updated."""
        query = "mutation save($input: EndpointInput!) { saveEndpoint(input: $input) { id } }"
        given = {"name": name, "workersMin": 0, "workersMax": 1, "idleTimeout": 60, **fields}
        answer = self.client.post("/graphql", json={"query": query, "variables": {"input": given}})
        return str(answer.json()["data"]["saveEndpoint"]["id"])

    def run(self, endpoint_id: str, **job_input: object) -> str:
        """The id of a job that was queued."""
        answer = self.client.post(f"/v2/{endpoint_id}/run", json={"input": job_input})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def status(self, endpoint_id: str, job_id: str, wait_ms: int = 0) -> Answer:
        answer = self.client.get(f"/v2/{endpoint_id}/status/{job_id}", params={"wait": wait_ms})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(self, endpoint_id: str, job_id: str, status: str, timeout_s: float = STARTUP_S) -> Answer:
        """The job's answer once it has that status."""

        def arrived() -> Answer | None:
            answer = self.status(endpoint_id, job_id)
            return answer if answer["status"] == status else None

        return wait_until(arrived, timeout_s, f"{job_id} to be {status}") or {}

    def workers(self, endpoint_id: str) -> dict[str, int]:
        return dict(self.client.get(f"/v2/{endpoint_id}/health").json()["workers"])


class Server:
    """A thread with an event loop, a uvicorn and a `LocalRunpod` in it."""

    def __init__(self, home: Path, command: Sequence[str], environment: Mapping[str, str], max_workers: int) -> None:
        self.port = free_port()
        self.key = load_or_make_key(home)
        self.url = f"http://127.0.0.1:{self.port}"
        self.local = LocalRunpod(home, self.url, self.key, max_workers, environment, worker_command=command)
        app = FastAPI()
        app.add_middleware(HostGuard)
        app.include_router(self.local.router)
        config = uvicorn.Config(app, port=self.port, log_config=None, access_log=False, ws="none", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: asyncio.Event | None = None

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._server.started, what="the server to listen")

    def stop(self) -> None:
        """End it, and wait until it has."""
        self.leave()
        self.join()

    def leave(self) -> None:
        """Let it begin to end."""
        assert self._loop is not None
        assert self._leave is not None
        self._loop.call_soon_threadsafe(self._leave.set)

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
        await self.local.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._server.serve())
            await self._leave.wait()
            await self.local.stop()
            self._server.should_exit = True


def client_of(server: Server) -> httpx.Client:
    """A client that has the server's key."""
    headers = {"Authorization": f"Bearer {server.key}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=30, trust_env=False)


MakeInstance = Callable[..., Instance]


@pytest.fixture(scope="module")
def make_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeInstance]:
    """Makes instances, all ended with the module; `home` to go on from an earlier one's."""
    made: list[tuple[Server, httpx.Client]] = []

    def make(
        home: Path | None = None, command: Sequence[str] = TINY_WORKER, max_workers: int = 2, **environment: str
    ) -> Instance:
        home = home or tmp_path_factory.mktemp("local-runpod") / "home"
        server = Server(home, command, env.snapshot() | environment, max_workers)
        server.start()
        client = client_of(server)
        made.append((server, client))
        return Instance(home, server.url, server.key, client)

    yield make
    for server, _ in made:
        server.leave()
    for server, client in made:
        server.join()
        client.close()


@pytest.fixture(scope="module")
def instance(make_instance: MakeInstance) -> Instance:
    """The module's instance."""
    return make_instance()


@pytest.fixture(scope="module")
def endpoint_id(instance: Instance) -> str:
    """An endpoint of the module's instance with one worker that takes several jobs."""
    return instance.save_endpoint("tiny")
