"""Gives up what is kept ready for environments that nobody uses: warm children, the template, the layer's hold.

::

    using(environment) ── over ──▶ EnvironmentUse ── idle too long, or one too many ──▶ Supervisor.retire ──▶ on_retired
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator

from flashtrial.process.environment import BASE, Environment
from flashtrial.process.environment_use import EnvironmentUse, KeepLimits
from flashtrial.process.supervisor import Supervisor

logger = logging.getLogger(__name__)


class Retirement:
    """Watches over the environments of one supervisor. Belongs to its thread; any event loop may come next.

    `on_retired` is told the key of an environment of which no process is left and that nobody is about to use.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        limits: KeepLimits,
        monotonic: Callable[[], float],
        on_retired: Callable[[str], None],
    ) -> None:
        self._supervisor = supervisor
        self._uses = EnvironmentUse(limits, monotonic)
        self._on_retired = on_retired
        self._timer: asyncio.TimerHandle | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._closed = False

    @contextlib.contextmanager
    def using(self, environment: Environment) -> Iterator[None]:
        """Inside the block a request uses `environment`: nothing of it is given up."""
        if environment is BASE:
            yield
            return
        self._uses.begin(environment.key)
        try:
            yield
        finally:
            self._uses.end(environment.key)
            self._look()

    async def close(self) -> None:
        """Stop looking, and wait for what is being given up; the supervisor ends what is left. Safe to call twice."""
        self._closed = True
        self._stop_timer()
        if self._retiring:
            await asyncio.wait(self._retiring)

    def _look(self) -> None:
        if self._closed:
            return
        for key in self._uses.taken_out(self._supervisor.has_work_in):
            logger.info("environment %s is not used any more", key, extra={"action": "environment_retired"})
            task = asyncio.ensure_future(self._retire(key))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        self._look_later()

    async def _retire(self, key: str) -> None:
        await self._supervisor.retire(key)
        if not self._uses.is_known(key):  # else a request came meanwhile, and began anew
            self._on_retired(key)

    def _look_later(self) -> None:
        self._stop_timer()
        wait_s = self._uses.next_look_s()
        if wait_s is not None:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
