"""What the Pluto routes are made of, built in one place."""

from dataclasses import dataclass
from pathlib import Path

from flashtrial.core.clock import Clock
from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.neighbours.pluto.files import PlutoFiles
from flashtrial.server.neighbours.pluto.query import PlutoQuery
from flashtrial.server.neighbours.pluto.runs import PlutoRuns
from flashtrial.server.neighbours.recorder import Recorder
from flashtrial.server.neighbours.runs import Runs
from flashtrial.server.repository import Repository


@dataclass(frozen=True, slots=True)
class PlutoWire:
    """The parts; building them opens nothing."""

    recorder: Recorder
    runs: PlutoRuns
    query: PlutoQuery
    files: PlutoFiles


def pluto_wire(repository: Repository, ledger: Ledger, store: BlobStore, db_path: Path, clock: Clock) -> PlutoWire:
    """The parts over one database and its blobs."""
    recorder = Recorder(repository, ledger, clock, "pluto")
    reader = Runs(db_path, ledger)
    runs = PlutoRuns(recorder, ledger, reader)
    return PlutoWire(recorder, runs, PlutoQuery(reader, runs), PlutoFiles(store, db_path, recorder, ledger, runs))
