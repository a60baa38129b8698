"""flashtrial; what survived is read from the journal by flashtrial's own reader."""

from pathlib import Path

import ormsgpack
import subject

import flashtrial
from flashtrial.protocol.records import read_frames
from flashtrial.tracking.journal.reader import JournalReader


def opened(directory: Path) -> tuple[subject.Log, subject.Finish]:
    run = flashtrial.init(project="bench", name=directory.name)
    return (lambda values, step: run.log(values, step=step)), run.finish


def count(directory: Path) -> int:
    [journal] = directory.glob("**/*.journal")
    stretch = JournalReader.open(journal).read(0, 1 << 30)
    assert stretch is not None
    kinds = [ormsgpack.unpackb(payload)[1] for payload, _ in read_frames(stretch.data)]
    return kinds.count("metric")


subject.main(opened, count)
