"""An outbox of the test's own, and writers for it that do not die by themselves."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flashtrial
from flashtrial.protocol.records import JournalHeader
from flashtrial.tracking.journal.outbox import Journal
from flashtrial.tracking.runs.run import Run
from testkit.journals import Init

ALONE = {"console": False, "facts": False, "system_monitor": False}  # a run without what is captured beside it
JournalMaker = Callable[[str], Journal]


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    path = tmp_path / "outbox"
    path.mkdir()
    return path


@pytest.fixture
def new_journal(outbox: Path) -> Iterator[JournalMaker]:
    """Makes journals of run ``run_1``, by writer id; all are closed at the end."""
    made: list[Journal] = []

    def make(writer_id: str = "wr_1") -> Journal:
        made.append(Journal.create(outbox, JournalHeader("run_1", writer_id, {})))
        return made[-1]

    yield make
    for journal in made:
        journal.close()


@pytest.fixture
def init(outbox: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Init]:
    """`flashtrial.init` as in a worker, where nothing is started, in the test's outbox; ends what it began."""
    monkeypatch.setenv("FLASHTRIAL_WORKER_ID", "worker_1")
    made: list[Run] = []

    def start(**arguments: Any) -> Run:
        settings = {"outbox": outbox, **ALONE, **arguments.pop("settings", {})}
        made.append(flashtrial.init(settings=settings, **arguments))
        return made[-1]

    yield start
    for run in made:
        run.finish()
