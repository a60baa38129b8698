"""Where a worker starts: its parts are built here, once per process, and handed to the real RunPod loop.

Nothing heavy is imported before it is needed; the SDK, whose import costs seconds, comes last.
"""

import asyncio
import atexit
import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashtrial.core import env, log
from flashtrial.core.clock import SystemClock
from flashtrial.core.ids import new_id
from flashtrial.process.launch import Launcher, StartMethod
from flashtrial.process.retirement import Retirement
from flashtrial.process.supervisor import Supervisor
from flashtrial.worker.class_executor import ClassExecutor
from flashtrial.worker.function_executor import FunctionExecutor
from flashtrial.worker.gpu.policy import Placement
from flashtrial.worker.install.installer_on_demand import InstallerOnDemand
from flashtrial.worker.ledger import FileLedger, InstanceLedger, MemoryLedger
from flashtrial.worker.log_streamer import LogStreamer
from flashtrial.worker.loop import parent_watch
from flashtrial.worker.loop.live_output import LiveOutput
from flashtrial.worker.remote_executor import RemoteExecutor
from flashtrial.worker.run_consoles import RunConsoles
from flashtrial.worker.sync_keeper import SyncKeeper, choose_outbox
from flashtrial.worker.worker_settings import WorkerSettings

if TYPE_CHECKING:
    from flashtrial.worker.gpu.seats import GpuSeats

logger = logging.getLogger(__name__)


async def handler(event: dict[str, Any]) -> dict[str, Any]:
    """Answer one RunPod job: ``{"input": FunctionRequest}`` in, a `FunctionResponse` dict out."""
    return await _worker().handle(event)


def main() -> None:
    """Run the RunPod loop, or one job given as ``--test_input JSON``."""
    log.configure()
    if parent_pid := env.get(parent_watch.PARENT_PID):
        parent_watch.end_with(int(parent_pid))
    from flashtrial.worker.loop import runpod_loop  # noqa: PLC0415 - the SDK costs seconds, and importing this must not

    runpod_loop.serve(_worker, handler, WorkerSettings.from_environment())


class Worker:
    """The parts of one worker, put together; `close` ends every process they made."""

    def __init__(
        self,
        worker_id: str,
        home: Path,
        ledger: InstanceLedger,
        start_method: StartMethod | None = None,
        *,
        settings: WorkerSettings | None = None,
        keeper: SyncKeeper | None = None,
        gpus: "GpuSeats | None" = None,
    ) -> None:
        """`keeper` is given where records that are not sent when the worker ends would be lost.

        `gpus` is given where children are placed on GPUs, and closed with the worker.
        """
        settings = settings or WorkerSettings()
        self._worker_id = worker_id
        self._keeper = keeper
        self._gpus = gpus
        self._launcher = Launcher(_variables_of_children(worker_id), start_method)
        self._supervisor = Supervisor(self._launcher)
        self._classes = ClassExecutor(
            self._supervisor,
            ledger,
            worker_id,
            SystemClock(),
            limits=settings.instance_limits,
            call_defaults=settings.call_limits,
            gpus=gpus,
        )
        self._consoles = RunConsoles(env.outbox_dir(), worker_id) if env.flag(env.CONSOLE, default=True) else None
        self._installer = InstallerOnDemand(home)
        self._retirement = Retirement(
            self._supervisor, settings.keep_limits, SystemClock().monotonic, self._installer.release
        )
        self._executor = RemoteExecutor(
            self._installer,
            FunctionExecutor(self._supervisor, settings.call_limits, gpus),
            self._classes,
            settings.payload_limits(),
            using=self._retirement.using,
            consoles=self._consoles,
        )

    async def handle(self, event: object, live: LiveOutput | None = None) -> dict[str, Any]:
        """The answer to one job; see `RemoteExecutor.execute`."""
        return await self._executor.execute(event, live)

    async def close(self) -> None:
        """End all children and templates, and see what they wrote sent; the worker is of no use afterwards."""
        await self._classes.close()
        await self._retirement.close()
        await self._supervisor.close()
        if self._gpus is not None:
            await asyncio.to_thread(self._gpus.close)
        await asyncio.to_thread(self._installer.close)
        if self._consoles is not None:
            await asyncio.to_thread(self._consoles.close)
        if self._keeper is not None:
            await self._keeper.wait_until_sent(self._worker_id)

    def kill(self) -> None:
        """End all templates at once, and with them what they forked; for the end of the process."""
        self._launcher.close()


@functools.cache
def _worker() -> Worker:
    return open_worker(env.get("RUNPOD_POD_ID") or new_id("worker"), WorkerSettings.from_environment())


def open_worker(worker_id: str, settings: WorkerSettings) -> Worker:
    """The worker of this process, and what looks after the records that its children write. Call it once."""
    _stream_own_log()
    outbox = choose_outbox(settings.volume, worker_id)
    env.set_all({env.OUTBOX: str(outbox)})  # for all that this process starts
    keeper = SyncKeeper(outbox)
    # on a local RunPod the sync process lives on; in a container of its own the worker takes it along
    awaited = None if env.get(parent_watch.PARENT_PID) else keeper
    gpus = _gpu_seats(settings.gpu_placement)
    worker = Worker(worker_id, env.home(), _ledger(worker_id), settings=settings, keeper=awaited, gpus=gpus)
    atexit.register(worker.kill)
    keeper.start()
    return worker


def _gpu_seats(placement: Placement) -> "GpuSeats | None":
    if placement is Placement.UNMANAGED:
        return None
    from flashtrial.worker.gpu.seats import open_seats  # noqa: PLC0415 - few workers need it

    return open_seats(placement, env.snapshot().get("CUDA_VISIBLE_DEVICES"), SystemClock())


def _stream_own_log() -> None:
    level = logging.getLevelNamesMapping().get(env.get(env.LOG_LEVEL, "INFO").upper(), logging.INFO)
    package = logging.getLogger("flashtrial")
    package.setLevel(level)
    streamer = LogStreamer(level)
    streamer.addFilter(log.MaskSecrets())
    package.addHandler(streamer)


def _variables_of_children(worker_id: str) -> dict[str, str]:
    return {
        **env.without_secrets(env.snapshot()),
        env.WORKER_ID: worker_id,
        env.OUTBOX: str(env.outbox_dir()),
    }


def _ledger(worker_id: str) -> InstanceLedger:
    endpoint = env.get("RUNPOD_ENDPOINT_ID")
    if not endpoint:
        return MemoryLedger(worker_id)
    return FileLedger(env.home() / "instances" / Path(endpoint).name, worker_id)


if __name__ == "__main__":
    main()
