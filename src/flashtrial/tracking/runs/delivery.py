"""What `finish` says: how many records are where, and where the run can be looked at."""

from dataclasses import dataclass

from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.runs.arrivals import Arrival


@dataclass(frozen=True, slots=True)
class FinishReport:
    """How a run ended in this process, and where its records are.

    `written` = `sent` + `refused` + `pending` + `dropped`. `sent` are at every destination; `arrivals` says it for
    each. Pending ones are on the disk and are sent by the sync process, now or after a later start; `outage` says why
    they wait, where that is known. Inside a worker (`is_in_worker`) that is the ordinary course: the worker's sync
    process outlives the call, and nobody waited for it. `dropped` records had to make room in a full outbox, `lost`
    ones never reached the disk, or went with a journal that somebody removed. `files_pending` files are staged on the
    disk and their bytes not at the server yet; `files_refused` it will never take.
    """

    run_id: str
    url: str
    status: RunStatus
    written: int
    sent: int
    refused: int
    pending: int
    lost: int
    outage: str | None
    is_in_worker: bool = False
    files_pending: int = 0
    files_refused: int = 0
    dropped: int = 0
    arrivals: tuple[Arrival, ...] = ()

    def __str__(self) -> str:
        parts = self._left_to_the_worker() if self.pending and self.is_in_worker else self._sent()
        if self.dropped:
            parts.append(f"{self.dropped} were dropped, since the outbox was full")
        if self.files_pending:
            parts.append(f"{_count(self.files_pending, 'file')} to be uploaded yet")
        if self.files_refused:
            parts.append(f"{_count(self.files_refused, 'file')} refused and set aside")
        if self.lost:
            parts.append(f"{self.lost} could not be written and are lost")
        return f"run {self.run_id} {self.status}: {'; '.join(parts)}; {self.url}"

    def _sent(self) -> list[str]:
        """Each destination in words of its own, where they have not all the same."""
        if self.pending == self.refused == 0 or len(self.arrivals) < 2:
            names = " and ".join(each.destination for each in self.arrivals) if len(self.arrivals) > 1 else ""
            to = f" to {names}" if names else ""
            return [f"{self.sent} of {self.written} records sent{to}", *_left(self.pending, self.outage, self.refused)]
        return [part for each in self.arrivals for part in self._sent_to(each)]

    def _sent_to(self, each: Arrival) -> list[str]:
        said = f"{each.destination}: {each.sent} of {self.written} records sent"
        return [", ".join([said, *_left(each.pending, each.outage, each.refused)])]

    def _left_to_the_worker(self) -> list[str]:
        written = f"{self.written} records written" + (f", {self.sent} of them sent already" if self.sent else "")
        rest = "the rest" if self.sent else "them"
        when = f" once it can (now: {self.outage})" if self.outage else ""
        refused = [f"{self.refused} were refused and set aside"] if self.refused else []
        return [written, f"the worker's sync process delivers {rest}{when}", *refused]


def _left(pending: int, outage: str | None, refused: int) -> list[str]:
    """What is not at a destination, in words."""
    parts = [f"{pending} wait on this disk" + (f" ({outage})" if outage else "")] if pending else []
    return [*parts, f"{refused} were refused and set aside"] if refused else parts


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
