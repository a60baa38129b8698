"""What became of a run's records, proved by sequence numbers: journals on this disk against the server's intervals."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from flashtrial.cli import outbox
from flashtrial.core.errors import FlashtrialError


class UnknownRun(FlashtrialError):
    """Raised when neither the outbox nor the database of this home knows the run."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Counts of records. `sent` were acknowledged; `missing` were written and are not stored (yet).

    Not missing are those that the server `refused`, which stand on a list of the outbox with its reasons, and system
    samples and console lines that a full outbox `dropped`.
    """

    written: int
    sent: int
    stored: int
    missing: int
    doubled: int
    refused: int = 0
    dropped: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether everything written is stored once."""
        return self.missing == 0 and self.doubled == 0

    def as_json(self) -> dict[str, int]:
        return asdict(self)


def audit(home: Path, outbox_dir: Path, run_id: str) -> Audit:
    """The run's records, counted. Raises `UnknownRun`."""
    from flashtrial.server.settings import database_of
    from flashtrial.server.views import verify_counts

    # The disk first: what is sent in between is then counted as stored, and not as lost.
    local = [writer for writer in outbox.writers(outbox_dir) if writer.run_id == run_id]
    arrived = verify_counts(database_of(home), run_id)
    if not local and not arrived:
        raise UnknownRun(f"no run {run_id} in {home}: `flashtrial runs` lists those there are")
    # Of a writer whose journal is gone, what arrived is all that is known to have been written.
    known = [*local, *(outbox.Writer(run_id, each["writer_id"], each["max_seq"], each["max_seq"]) for each in arrived)]
    written, stored = _total(known, lambda writer: writer.written), sum(each["stored"] for each in arrived)
    refused, dropped = _total(local, lambda writer: writer.refused), _total(local, lambda writer: writer.dropped)
    return Audit(
        written=written,
        sent=_total(known, lambda writer: writer.sent),
        stored=stored,
        missing=max(written - stored - refused - dropped, 0),
        doubled=sum(each["doubled"] for each in arrived),
        refused=refused,
        dropped=dropped,
    )


def _total(sights: list[outbox.Writer], count: Callable[[outbox.Writer], int]) -> int:
    """The sum over writers, of each the furthest that was seen."""
    furthest: dict[str, int] = {}
    for writer in sights:
        furthest[writer.id] = max(furthest.get(writer.id, 0), count(writer))
    return sum(furthest.values())
