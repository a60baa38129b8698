"""SQL that moves commands: written once, settled once, each move in one transaction."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from flashtrial.protocol.control import Command, CommandKind, CommandState, Receipt, Refusal
from flashtrial.server.control.epochs import Denied, Post, denied
from flashtrial.server.control.report_rows import as_json


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A command as it stands: what was asked, and what came of it. `number` ascends in the order of writing."""

    number: int
    experiment: int
    command: Command
    state: CommandState
    created_ms: int
    settled_ms: int | None = None
    refusal: Refusal | None = None
    reason: str | None = None
    new_run_id: int | None = None

    def tells_as(self, receipt: Receipt) -> bool:
        """Whether this is what came of such a receipt."""
        told = (receipt.state, receipt.refusal, receipt.new_run_id)
        return (self.state, self.refusal, self.new_run_id) == told


COLUMNS = (
    "number, experiment, id, run_id, kind, seen_version, config, warm_start, expires_ms, "
    # nobody is there to move a row when its time is over
    "CASE WHEN state = 'pending' AND expires_ms <= :now_ms THEN 'expired' ELSE state END, "
    "created_ms, settled_ms, refusal, reason, new_run_id"
)


def command_row(row: Sequence[Any]) -> CommandRow:
    """The command in a row of `COLUMNS`."""
    number, experiment, id_, run_id, kind, version, config, warm_start, expires_ms, state, *rest = row
    created_ms, settled_ms, refusal, reason, new_run_id = rest
    parsed = None if config is None else orjson.loads(config)
    command = Command(id_, run_id, CommandKind(kind), expires_ms, version, parsed, bool(warm_start))
    told = (None if refusal is None else Refusal(refusal), reason, new_run_id)
    return CommandRow(number, experiment, command, CommandState(state), created_ms, settled_ms, *told)


def find_command(connection: sqlite3.Connection, command_id: str, now_ms: int) -> CommandRow | None:
    """The command of that id, if there is one."""
    row = connection.execute(
        f"SELECT {COLUMNS} FROM commands WHERE id = :id",  # noqa: S608 - our own words
        {"id": command_id, "now_ms": now_ms},
    ).fetchone()
    return None if row is None else command_row(row)


def write_command(
    connection: sqlite3.Connection, experiment: int, command: Command, now_ms: int
) -> CommandRow | Denied:
    """The command's row; the one that is there already, where it is of the same content, whatever it waits or waited.

    A trial that nobody has reported is denied.
    """
    if (there := find_command(connection, command.id, now_ms)) is not None:
        return there if _is_same(there, experiment, command) else _taken(command)
    known = connection.execute("SELECT 1 FROM trials WHERE (experiment, run_id) = (?, ?)", (experiment, command.run_id))
    if known.fetchone() is None:
        return Denied("no_such_trial", f"there is no run {command.run_id} in experiment {experiment}", 404)
    connection.execute(
        "INSERT INTO commands (id, experiment, run_id, kind, seen_version, config, warm_start, state, created_ms, "
        "expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?)",
        (
            *(command.id, experiment, command.run_id, command.kind, command.seen_version),
            *(as_json(command.config), command.warm_start, now_ms, command.expires_ms),
        ),
    )
    row = find_command(connection, command.id, now_ms)
    assert row is not None
    return row


def _is_same(row: CommandRow, experiment: int, command: Command) -> bool:
    asked = (row.command.run_id, row.command.kind, row.command.seen_version, row.command.config, row.command.warm_start)
    again = (command.run_id, command.kind, command.seen_version, command.config, command.warm_start)
    return row.experiment == experiment and asked == again


def _taken(command: Command) -> Denied:
    return Denied("id_taken", f"another command has the id {command.id!r:.200}: each needs one of its own")


def settle(connection: sqlite3.Connection, post: Post, receipt: Receipt, now_ms: int) -> CommandRow | Denied:
    """The command with its receipt; again, where it has the same one already. Denied, it must not be carried out."""
    if (problem := denied(connection, post)) is not None:
        return problem
    row = find_command(connection, receipt.command_id, now_ms)
    if row is None or row.experiment != post.experiment:
        return Denied("no_such_command", f"this experiment has no command {receipt.command_id!r:.200}", 404)
    if row.tells_as(receipt):
        return row
    if row.state in (CommandState.DONE, CommandState.REFUSED):
        return Denied("already_settled", f"the command has a receipt, and it says otherwise: {row.state}")
    if row.state is not CommandState.PENDING:
        return Denied(row.state, f"the command is {row.state}: it must not be carried out")
    connection.execute(
        "UPDATE commands SET state = ?, refusal = ?, reason = ?, new_run_id = ?, epoch = ?, settled_ms = ? "
        "WHERE number = ?",
        (
            *(receipt.state, receipt.refusal, receipt.reason, receipt.new_run_id),
            *(post.epoch, now_ms, row.number),
        ),
    )
    return find_command(connection, receipt.command_id, now_ms) or row


def withdraw(connection: sqlite3.Connection, command_id: str, now_ms: int) -> CommandRow | None:
    """The command, which nobody can carry out any more if it still waited; as it was settled, if it was."""
    row = find_command(connection, command_id, now_ms)
    if row is None or row.state is not CommandState.PENDING:
        return row
    connection.execute("UPDATE commands SET state = 'withdrawn', settled_ms = ? WHERE number = ?", (now_ms, row.number))
    return find_command(connection, command_id, now_ms)
