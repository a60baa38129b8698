"""SQL that writes what a run is: its changes, the facts folded from them, and how it stands."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import orjson

from flashtrial.protocol.records import RecordKind
from flashtrial.protocol.trials import RunStatus
from flashtrial.server.liveness import Beat, Owner, Role, Silence, Standing, standing
from flashtrial.server.records import ChangeRecord
from flashtrial.server.run_facts import Change, RunFacts, ended_by_guests, fold, keyed
from flashtrial.server.storage.inheritance import inheritance_of


@dataclass(frozen=True, slots=True)
class RunKey:
    """A run by its key in the database and by the id that clients know."""

    number: int
    id: str


def store_changes(connection: sqlite3.Connection, run: RunKey, writer: int, records: Sequence[ChangeRecord]) -> None:
    """Store new state, config and tags records of one writer, and fold them into the run's row."""
    if not records:
        return
    connection.executemany(
        "INSERT INTO changes (run, writer, seq, time_ms, kind, body) VALUES (?, ?, ?, ?, ?, ?)",
        ((run.number, writer, r.seq, r.time_ms, r.kind, r.body) for r in records),
    )
    writer_id, ahead_ms = connection.execute("SELECT id, ahead_ms FROM writers WHERE number = ?", (writer,)).fetchone()
    news = [Change(writer_id, r.seq, r.time_ms - ahead_ms, r.kind, orjson.loads(r.body)) for r in records]
    _tell_writer(connection, writer, news)
    _fold(connection, run, writer, news)


def _tell_writer(connection: sqlite3.Connection, writer: int, news: Iterable[Change]) -> None:
    """Note what the writer says of itself: whose run it is, and that it goes on with one."""
    for body in (change.body for change in news if change.kind is RecordKind.STATE):
        role = Role.GUEST if body.get("guest") else Role.OWNER
        connection.execute(
            "UPDATE writers SET role = coalesce(role, ?), resumed = max(resumed, ?), host = coalesce(?, host) "
            "WHERE number = ?",
            (role, bool(body.get("resumed")), body.get("host"), writer),
        )


def _fold(connection: sqlite3.Connection, run: RunKey, writer: int, news: Sequence[Change]) -> None:
    """Fold the news onto what the run's row says where they are later than all of that, else fold everything anew."""
    news = sorted(news, key=lambda change: change.seq)
    seq, ms = connection.execute("SELECT change_seq, change_ms FROM writers WHERE number = ?", (writer,)).fetchone()
    facts, folded_ms, folded_writer = facts_in_row(connection, run)
    writer_id = news[0].writer
    is_later = folded_ms is not None and (max(ms, news[0].time_ms), writer_id) >= (folded_ms, folded_writer)
    has_owner = bool(_of_role(connection, run.number, Role.OWNER))
    if is_later and news[0].seq > seq and has_owner:
        facts = fold(run.id, news, facts)
        last = (max(ms, *(change.time_ms for change in news)), writer_id)
    else:
        history = changes_of(connection, run.number)
        facts = fold(run.id, history, _inherited(connection, run, history))
        facts = facts if has_owner else ended_by_guests(facts, history)
        last = keyed(history)[-1][:2]
    connection.execute(
        "UPDATE writers SET change_seq = max(change_seq, ?), change_ms = max(change_ms, ?) WHERE number = ?",
        (news[-1].seq, max(change.time_ms for change in news), writer),
    )
    _write_facts(connection, run, facts, last)


def changes_of(connection: sqlite3.Connection, run: int) -> list[Change]:
    """All that was told of the run, in no order, at times of our clock."""
    rows = connection.execute(
        "SELECT writers.id, seq, time_ms - ahead_ms, kind, body FROM changes JOIN writers ON writers.number = writer "
        "WHERE changes.run = ?",
        (run,),
    )
    return [Change(who, seq, time_ms, RecordKind(kind), orjson.loads(body)) for who, seq, time_ms, kind, body in rows]


_FACTS = "name, project, told_status, tags, config, host, told_reason, fork_run, fork_step"


def facts_in_row(connection: sqlite3.Connection, run: RunKey) -> tuple[RunFacts, int | None, str | None]:
    """What the run's row says that it is, and the time and writer of the last change that is in it."""
    row = connection.execute(
        f"SELECT {_FACTS}, folded_ms, folded_writer FROM runs WHERE number = ?",  # noqa: S608 - our own words
        (run.number,),
    ).fetchone()
    name, project, status, tags, config, host, reason, fork_run, fork_step, folded_ms, folded_writer = row
    parsed = orjson.loads(tags), orjson.loads(config)
    facts = RunFacts(name, project, RunStatus(status), *parsed, host, reason, fork_run, fork_step)
    return facts, folded_ms, folded_writer


def _inherited(connection: sqlite3.Connection, run: RunKey, history: Iterable[Change]) -> RunFacts:
    """What a run starts from: nothing, or of a forked one the config and tags that its parent had at first."""
    facts = RunFacts(run.id)
    forks = (change.body["fork"] for change in history if "fork" in change.body)
    fork = next(forks, None)
    if fork is None:
        return facts
    found = inheritance_of(connection, run.number, fork["run_id"])
    if found is not None and fork.get("inherit_config"):
        facts = replace(facts, config=orjson.loads(found.config))
    if found is not None and fork.get("inherit_tags"):
        facts = replace(facts, tags=orjson.loads(found.tags))
    return facts


def _write_facts(connection: sqlite3.Connection, run: RunKey, facts: RunFacts, last: tuple[int, str]) -> None:
    connection.execute(
        "UPDATE runs SET name = :name, project = :project, tags = :tags, config = :config, host = :host, "
        "status = :status, told_status = :status, reason = :reason, told_reason = :reason, fork_run = :fork_run, "
        "fork_step = :fork_step, folded_ms = :folded_ms, folded_writer = :folded_writer WHERE number = :number",
        asdict(facts)
        | {"tags": _text(facts.tags), "config": _text(facts.config), "number": run.number}
        | {"folded_ms": last[0], "folded_writer": last[1]},
    )


def settle(connection: sqlite3.Connection, run: int, silence: Silence) -> bool:
    """Write how a run stands, where it is not what its row says; whether that was so."""
    row = connection.execute(
        "SELECT told_status, told_reason, status, reason FROM runs WHERE number = ?", (run,)
    ).fetchone()
    told = Standing(RunStatus(row[0]), row[1])
    if told.status.is_finished and told.status == row[2]:
        return False
    now = standing(told, _owners(connection, run), silence)
    if (now.status, now.reason) == (row[2], row[3]):
        return False
    connection.execute("UPDATE runs SET status = ?, reason = ? WHERE number = ?", (now.status, now.reason, run))
    return True


def _owners(connection: sqlite3.Connection, run: int) -> list[Owner]:
    """Whoever can end the run: its owners, where there are none its guests."""
    return _of_role(connection, run, Role.OWNER) or _of_role(connection, run, Role.GUEST)


def _of_role(connection: sqlite3.Connection, run: int, role: Role) -> list[Owner]:
    rows = connection.execute(
        "SELECT heard_ms, beat, gone_reason, host FROM writers WHERE run = ? AND role = ?", (run, role)
    )
    return [Owner(heard_ms, Beat(beat) if beat else None, reason, host) for heard_ms, beat, reason, host in rows]


def settle_all(connection: sqlite3.Connection, silence: Silence) -> list[str]:
    """Settle every run that its records do not end; the ids of those that changed."""
    rows = connection.execute(
        "SELECT number, id FROM runs WHERE told_status IN ('created', 'running') AND "
        "((status = 'running' AND last_seen_ms < ?) OR EXISTS "
        "(SELECT 1 FROM writers WHERE run = runs.number AND beat IS NOT NULL))",
        (silence.others_before_ms,),
    ).fetchall()
    return [run_id for number, run_id in rows if settle(connection, number, silence)]


def _text(value: object) -> str:
    return orjson.dumps(value).decode()
