"""What became of a run's records, proved by sequence numbers: journals on this disk against the server's intervals.

The server is the run's own, as its journals say; the configured one where no journal is left and this home's own
instance does not know the run.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flashtrial.cli import outbox
from flashtrial.cli.outbox import Writer
from flashtrial.cli.run_servers import RunServers, counts_on_disk
from flashtrial.core import env
from flashtrial.core.errors import FlashtrialError
from flashtrial.tracking.journal.outbox import dead_path
from flashtrial.tracking.journal.progress import read_dead
from flashtrial.tracking.journal.routes import NATIVE
from flashtrial.tracking.media.uploads import FILES


class UnknownRun(FlashtrialError):
    """Raised when neither the outbox nor the server knows the run."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What one of the other destinations said of the records that are still in the outbox."""

    sent: int
    refused: int
    pending: int


@dataclass(frozen=True, slots=True)
class Audit:
    """Counts of records. `sent` were acknowledged; `missing` were written and are not stored (yet).

    Not missing are those that the server `refused`, which stand on a list of the outbox with its reasons, and system
    samples and console lines that a full outbox `dropped`. All this is about flashtrial's own server; a run that does
    not go there misses nothing there. `elsewhere` has the other destinations, as far as journals are left.
    """

    written: int
    sent: int
    stored: int
    missing: int
    doubled: int
    refused: int = 0
    dropped: int = 0
    elsewhere: dict[str, Elsewhere] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether everything written is stored once."""
        return self.missing == 0 and self.doubled == 0

    def as_json(self) -> dict[str, Any]:
        """As ``flashtrial verify --json`` prints it; other destinations only where there are some."""
        fields = asdict(self)
        return fields if self.elsewhere else {name: value for name, value in fields.items() if name != "elsewhere"}

    def lines(self) -> list[str]:
        """For people: our own server, and each other destination."""
        counts = {name: value for name, value in asdict(self).items() if name != "elsewhere"}
        others = {f"{name}: ": asdict(each) for name, each in sorted(self.elsewhere.items())}
        return [_line(head, each) for head, each in {"": counts, **others}.items()]


def _line(head: str, counts: dict[str, int]) -> str:
    return head + "  ".join(f"{name} {count}" for name, count in counts.items())


def audit(home: Path, outbox_dir: Path, run_id: str) -> Audit:
    """The run's records, counted. Raises `UnknownRun`, and `ServerSilent` when its server cannot be asked."""
    # The disk first: what is sent in between is then counted as stored, and not as lost.
    local = {writer.id: writer for writer in outbox.writers(outbox_dir) if writer.run_id == run_id}
    arrived = _arrived(home, run_id, list(local.values()))
    if not local and not arrived:
        raise UnknownRun(
            f"no run {run_id} in {home}: `flashtrial runs` lists those there are; "
            "for one that went to another server and is all sent, set FLASHTRIAL_URL"
        )
    each = [_of_writer(local.get(writer_id), arrived.get(writer_id)) for writer_id in {**local, **arrived}]
    return Audit(
        written=sum(one.written for one in each),
        sent=sum(one.sent for one in each),
        stored=sum(one.stored for one in each),
        missing=sum(one.missing for one in each),
        doubled=sum(one.doubled for one in each),
        refused=sum(one.refused for one in each),
        dropped=sum(one.dropped for one in each),
        elsewhere=_elsewhere(outbox_dir, list(local.values())),
    )


def _arrived(home: Path, run_id: str, local: list[Writer]) -> dict[str, dict[str, Any]]:
    """What the run's servers have of each writer."""
    servers = RunServers(home, env.snapshot())
    named = {writer.places[NATIVE] for writer in local if NATIVE in writer.places}
    counts = [count for destination in sorted(named) for count in servers.counts(destination, run_id)]
    if not named:
        counts = counts_on_disk(home, run_id)
        if not counts and not any(writer.places for writer in local):
            counts = servers.counts(servers.default(), run_id)
    found: dict[str, dict[str, Any]] = {}
    for count in counts:  # of several servers that have some of a writer, the one that has the most
        if count["stored"] >= found.get(count["writer_id"], count)["stored"]:
            found[count["writer_id"]] = count
    return found


def _of_writer(local: Writer | None, arrived: dict[str, Any] | None) -> Audit:
    """Of a writer whose journal is gone, what arrived is all that is known to have been written."""
    stored, highest = (arrived["stored"], arrived["max_seq"]) if arrived else (0, 0)
    written = max(local.written if local else 0, highest)
    refused, dropped = (local.refused, local.dropped) if local else (0, 0)
    goes_here = local is None or not local.places or NATIVE in local.places
    return Audit(
        written=written,
        sent=max(local.sent if local else 0, highest),
        stored=stored,
        missing=max(written - stored - refused - dropped, 0) if goes_here else 0,
        doubled=arrived["doubled"] if arrived else 0,
        refused=refused,
        dropped=dropped,
    )


def _elsewhere(outbox_dir: Path, local: list[Writer]) -> dict[str, Elsewhere]:
    names = {name for writer in local for name in writer.places} - {NATIVE, FILES}
    return {name: _at(outbox_dir, name, [writer for writer in local if name in writer.places]) for name in names}


def _at(outbox_dir: Path, name: str, writers: list[Writer]) -> Elsewhere:
    refused = sum(len(read_dead(dead_path(outbox_dir, writer.id, name))) for writer in writers)
    pending = sum(writer.lags.get(name, 0) for writer in writers)
    settled = sum(writer.written for writer in writers) - pending
    return Elsewhere(sent=settled - refused, refused=refused, pending=pending)
