"""Deaths at random moments of storing, sealing, removing, importing, backing up and migrating."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flashtrial.server.exchange.intake import import_runs
from flashtrial.server.exchange.transfer import Format, export_runs
from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.files.cleanup import remove_forgotten
from flashtrial.server.files.rows import named_hashes
from flashtrial.server.series_views import SeriesQuery, curve
from flashtrial.server.settings import ServerSettings
from flashtrial.server.views import read_run, verify_counts
from testkit.tracking_server import batch, metric, state, tracking_server

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).with_name("store_until_dead.py")
LIVES = 25
IMPORTED_POINTS = 3000


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """What another home exported: one run of many points."""
    other = ServerSettings(tmp_path / "other")
    with tracking_server(other.home) as server:
        frames = (metric(seq, {"x": float(seq)}) for seq in range(2, IMPORTED_POINTS + 2))
        server.ingest(batch("imported", state(1, "running"), *frames))
    export_runs(other, tmp_path / "out", Format.JSON)
    return tmp_path / "out"


def _is_whole(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def _told(path: Path) -> tuple[dict[str, set[int]], set[str], set[str]]:
    """Of each run the numbers that were acknowledged; the runs of which removal began; those of which it ended."""
    stored: dict[str, set[int]] = {}
    begun, ended = set(), set()
    for words in map(str.split, path.read_text().splitlines()):
        match words:
            case ["stored", run, first, last]:
                stored.setdefault(run, set()).update(range(int(first), int(last) + 1))
            case ["removing", run]:
                begun.add(run)
            case ["removed", run]:
                ended.add(run)
    return stored, begun, ended


@pytest.mark.parametrize("seed", [1, 2])
def test_no_death_at_work_loses_or_doubles_what_was_acknowledged(
    flashtrial_home: Path, tmp_path: Path, exported: Path, seed: int
) -> None:
    settings, told = ServerSettings(flashtrial_home), tmp_path / "told"
    words = [str(flashtrial_home), str(told), str(exported), str(LIVES), str(seed)]
    subprocess.run([sys.executable, str(SCRIPT), *words], env=os.environ, check=True, timeout=50)
    assert _is_whole(settings.db_path)
    stored, begun, ended = _told(told)
    assert stored
    for run, numbers in stored.items():
        steps = [step for step, *_ in curve(settings.db_path, SeriesQuery(run, "x", limit=None))]
        if run in begun and (run in ended or not steps):
            assert read_run(settings.db_path, run) is None
        else:
            assert steps == sorted(set(steps))
            assert numbers <= set(steps)
    _imports_and_copies_are_whole(settings, tmp_path, exported)
    _no_content_is_left_without_a_name(settings)


def _imports_and_copies_are_whole(settings: ServerSettings, tmp_path: Path, exported: Path) -> None:
    import_runs(settings, exported)
    assert [each["stored"] for each in verify_counts(settings.db_path, "imported")] == [IMPORTED_POINTS + 1]
    assert len(curve(settings.db_path, SeriesQuery("imported", "x", limit=None))) == IMPORTED_POINTS
    copy = tmp_path / "copy.db"
    assert not copy.exists() or _is_whole(copy)


def _no_content_is_left_without_a_name(settings: ServerSettings) -> None:
    store = BlobStore(settings.blobs_dir, settings.blob_limits)
    store.start()
    remove_forgotten(store, settings.db_path, older_than_s=-1)
    assert {sha256 for sha256, _ in store.hashes()} <= named_hashes(settings.db_path)
