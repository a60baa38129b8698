"""The local RunPod as one part, to be mounted in an application: its routes, its database, its workers."""

import asyncio
import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastapi import APIRouter

import flashtrial
from flashtrial.core.clock import SystemClock
from flashtrial.core.files import ensure_private_dir
from flashtrial.local_runpod.auth import Gate
from flashtrial.local_runpod.bell import Bell
from flashtrial.local_runpod.catalog import Catalog
from flashtrial.local_runpod.control_plane import ControlPlane
from flashtrial.local_runpod.data_plane import DataPlane
from flashtrial.local_runpod.database import Database
from flashtrial.local_runpod.job_api import JobApi
from flashtrial.local_runpod.leftovers import end_leftovers
from flashtrial.local_runpod.queue import JobQueue
from flashtrial.local_runpod.worker_process import sweep_leftovers
from flashtrial.local_runpod.workers import Place, Workers

DATABASE_FILE = "local_runpod.db"


def default_worker_command() -> list[str]:
    """How a worker is started: the checkout's ``src/handler.py`` where there is one, else the installed entry point."""
    handler = Path(flashtrial.__file__).parents[1] / "handler.py"
    if handler.is_file():
        return [sys.executable, str(handler)]
    return [sys.executable, "-m", "flashtrial.worker.entrypoint"]


class LocalRunpod:
    """A RunPod on this machine. Making one does nothing; `start` and `stop` belong to the server's event loop.

    Its routes ask for the key; the application that they are mounted in keeps web pages out (`server.security`).

    `stop` should be called while the server still answers: workers with a job in hand then have `GRACE_S`
    seconds to hand in its result. Called by the server's own shutdown it works as well, but those results are lost, and
    polls that are open keep the server up to 5 s: `cut_polls` before that spares the wait.
    """

    def __init__(
        self,
        home: Path,
        base_url: str,
        key: str,
        max_workers: int,
        environment: Mapping[str, str],
        *,
        worker_command: Sequence[str] | None = None,
    ) -> None:
        """`max_workers` bounds the workers of each endpoint; `environment` is what workers start from."""
        self._home = home
        self._base_url = base_url
        self._is_started = False
        self._tidying: asyncio.Task[None] | None = None
        bell, self._clock = Bell(), SystemClock()
        self._gate = Gate(key)
        self._database = Database(home / DATABASE_FILE)
        self._queue = JobQueue(self._database, bell, self._clock)
        self._catalog = Catalog(self._database)
        command = tuple(worker_command or default_worker_command())
        self._place = Place(home, key, command, dict(environment), max_workers)
        self._workers = Workers(self._place, self._catalog, self._queue, self._gate, bell)
        self.router = self._make_router()

    async def start(self, base_url: str | None = None) -> None:
        """Open the database, end what an earlier life left unfinished, and begin to start workers.

        `base_url` is where workers find the mounted routes, if it was not known before.
        """
        self._base_url = (base_url or self._base_url).rstrip("/")
        ensure_private_dir(self._home)
        await asyncio.to_thread(end_leftovers, self._home)
        await asyncio.to_thread(sweep_leftovers, self._place.scratches, self._place.logs, self._clock.time_ms() / 1000)
        await self._database.start()
        self._is_started = True
        await self._catalog.load()
        await self._queue.recover()
        self._workers.start(self._base_url)
        self._tidying = asyncio.create_task(self._queue.keep_tidy())

    def cut_polls(self) -> None:
        """Answer all open polls now and hand out no more jobs: the server is about to stop."""
        self._queue.dismiss_all()

    async def stop(self) -> None:
        """End all workers and close the database. Twice is once."""
        if not self._is_started:
            return
        self._is_started = False
        self._queue.dismiss_workers()
        await self._workers.stop()
        self.cut_polls()
        if self._tidying is not None:
            self._tidying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._tidying
        await self._queue.close()
        await self._database.stop()

    def _make_router(self) -> APIRouter:
        router = APIRouter()
        router.include_router(ControlPlane(self._catalog, self._queue, self._workers).router(self._gate))
        router.include_router(JobApi(self._queue, self._workers).router(self._gate))
        router.include_router(DataPlane(self._catalog, self._queue, self._workers).router(self._gate))
        return router
