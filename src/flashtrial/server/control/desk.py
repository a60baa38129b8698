"""Where commands are left and fetched: writes through the repository, and wakes whoever waits for what was written.

Draws no line between dashboards and controllers: both wait on one hub that names experiments in which something moved,
and look again. All on the server's event loop; SQLite is read on threads.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from flashtrial.core.clock import Clock
from flashtrial.protocol.control import Command, Receipt
from flashtrial.server.control import command_rows, control_views, epochs
from flashtrial.server.control.command_rows import CommandRow
from flashtrial.server.control.control_views import ExperimentView
from flashtrial.server.control.epochs import Denied, Post, superseded
from flashtrial.server.control.presence import Presence
from flashtrial.server.events import EventHub
from flashtrial.server.repository import Repository, Work

T = TypeVar("T")

RECEIPT_WAIT_S = 3.0


def control_hub() -> EventHub:
    """A hub that wakes at once: who waits for a receipt looks at a clock."""
    return EventHub(pause_s=0.01)


@dataclass(slots=True)
class ControlDesk:
    """Commands, receipts and posts. Methods raise `QueueFull`, `NotRunning` and `sqlite3.Error` as the repository's."""

    repository: Repository
    db_path: Path
    clock: Clock
    receipt_wait_s: float = RECEIPT_WAIT_S
    hub: EventHub = field(default_factory=control_hub)
    presence: Presence = field(init=False)

    def __post_init__(self) -> None:
        self.presence = Presence(self.clock)

    async def register(self, name: str, controller_id: str) -> Post:
        """The post of the controller in the experiment of that name. Older ones hear that they are superseded."""
        post = await self._write(lambda connection: epochs.register(connection, name, controller_id, self.now()))
        self._ring(post.experiment)
        return post

    async def reserve_run_ids(self, post: Post, count: int) -> int | Denied:
        """The first of `count` ids in a row that are this controller's."""
        return await self._write(lambda connection: epochs.reserve_run_ids(connection, post, count))

    async def write(self, experiment: int, command: Command) -> CommandRow | Denied:
        """The command's row, there already or from now on; the controller is told."""
        row = await self._write(lambda c: command_rows.write_command(c, experiment, command, self.now()))
        self._ring(experiment)
        return row

    async def settle(self, post: Post, receipt: Receipt) -> CommandRow | Denied:
        """The command with this receipt; whoever waits for it is told."""
        row = await self._write(lambda c: command_rows.settle(c, post, receipt, self.now()))
        self._ring(post.experiment)
        return row

    async def withdraw(self, command_id: str) -> CommandRow | None:
        """The command, withdrawn if it still waited."""
        row = await self._write(lambda c: command_rows.withdraw(c, command_id, self.now()))
        if row is not None:
            self._ring(row.experiment)
        return row

    async def receipt_for(self, row: CommandRow, wait_s: float) -> CommandRow:
        """The command as it is settled, or as it is when the time is over or the server stops."""

        async def look() -> CommandRow | None:
            now = await asyncio.to_thread(control_views.command_of, self.db_path, row.command.id, self.now())
            return now if now is not None and now.state.is_settled else None

        return await self._awaited(row.experiment, look, wait_s) or row

    async def inbox(self, post: Post, after: int, wait_s: float) -> list[CommandRow] | Denied:
        """What waits behind the command of that number, as soon as there is something; none when the time is over."""

        async def look() -> list[CommandRow] | Denied | None:
            return await self.look_into(post, after) or None

        with self.presence.listening(post):
            return await self._awaited(post.experiment, look, wait_s) or []

    def is_connected(self, experiment: ExperimentView) -> bool:
        """Whether the controller of the experiment listens."""
        return self.presence.is_connected(Post(experiment.id, experiment.epoch))

    async def look_into(self, post: Post, after: int) -> list[CommandRow] | Denied:
        """What waits behind the command of that number."""
        found = await asyncio.to_thread(control_views.experiment_of, self.db_path, post.experiment)
        if found is None:
            return Denied("no_such_experiment", f"there is no experiment {post.experiment}", 404)
        if found.epoch != post.epoch:
            return superseded(post, found.epoch)
        return await asyncio.to_thread(control_views.waiting_commands, self.db_path, post.experiment, after, self.now())

    def now(self) -> int:
        """The time that commands expire by, in milliseconds since 1970."""
        return self.clock.time_ms()

    async def _awaited(self, experiment: int, look: Callable[[], Awaitable[T | None]], wait_s: float) -> T | None:
        """What `look` finds, looking again whenever something moved in the experiment; None when the time is over."""
        with self.hub.listen() as changes:
            found = await look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s if found is None else None):
                    while found is None and (keys := await anext(changes, None)) is not None:
                        found = await look() if str(experiment) in keys else None
            return found

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        done: Work[T] = lambda connection, _: work(connection)  # noqa: E731
        return await asyncio.wrap_future(self.repository.submit(done))

    def _ring(self, experiment: int) -> None:
        self.hub.publish(frozenset({str(experiment)}))
