"""What was logged, read back from the journals of an outbox."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flashtrial.protocol.records import Record, decode_record, read_frames
from flashtrial.tracking.journal.reader import JournalReader
from flashtrial.tracking.runs.run import Run

Init = Callable[..., Run]  # what the fixture `init` gives: `flashtrial.init` in an outbox of the test's own


def records(outbox: Path) -> list[Record]:
    """All records of the outbox, by writer."""
    found: list[Record] = []
    for path in sorted(outbox.glob("*.journal")):
        reader = JournalReader.open(path)
        stretch = reader.read(0, 1 << 30)
        header = reader.header
        payloads = read_frames(stretch.data) if stretch else ()
        found += [decode_record(header.run_id, header.writer_id, payload) for payload, _ in payloads]
    return found


def bodies(outbox: Path, kind: str) -> list[Any]:
    return [record.body for record in records(outbox) if record.kind == kind]
