"""What the server counts about itself, and the text in which Prometheus asks for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flashtrial.server.storage.batches import BatchResult

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class IngestCounters:
    """Totals since the start; changed on the event loop only."""

    requests: int = 0
    rejected: int = 0
    stored: int = 0
    duplicates: int = 0
    refused: int = 0

    def add(self, results: Iterable[BatchResult]) -> None:
        """Count what became of one accepted request."""
        self.requests += 1
        for result in results:
            self.stored += result.stored
            self.duplicates += result.duplicates
            self.refused += len(result.refused)


@dataclass(frozen=True, slots=True)
class Gauges:
    """How things stand at the moment of asking."""

    waiting: int
    listeners: int
    database_bytes: int
    blob_bytes: int
    runs_by_status: Mapping[str, int]


def exposition(counters: IngestCounters, now: Gauges) -> str:
    """The page of ``/metrics``. Source of the format: Prometheus, "Exposition formats", text version 0.0.4."""
    return "".join(
        (
            _family("ingest_requests_total", "counter", "Ingest requests committed.", counters.requests),
            _family("ingest_rejected_total", "counter", "Ingest requests answered with an error.", counters.rejected),
            _family("records_stored_total", "counter", "Records stored.", counters.stored),
            _family("records_duplicate_total", "counter", "Records that were there already.", counters.duplicates),
            _family("records_refused_total", "counter", "Records refused with a reason.", counters.refused),
            _family("ingest_waiting", "gauge", "Ingest requests that wait for their commit.", now.waiting),
            _family("event_listeners", "gauge", "Open streams of events.", now.listeners),
            _family("database_bytes", "gauge", "Size of the database, its log included.", now.database_bytes),
            _family("blob_bytes", "gauge", "Size of all contents of files.", now.blob_bytes),
            _head("runs", "gauge", "Runs by status."),
            *(
                f'flashtrial_runs{{status="{status}"}} {count}\n'
                for status, count in sorted(now.runs_by_status.items())
            ),
        )
    )


def _family(name: str, kind: str, meaning: str, value: int) -> str:
    return f"{_head(name, kind, meaning)}flashtrial_{name} {value}\n"


def _head(name: str, kind: str, meaning: str) -> str:
    return f"# HELP flashtrial_{name} {meaning}\n# TYPE flashtrial_{name} {kind}\n"
