"""Runs written to files and taken in again, and backups of a server that goes on meanwhile."""

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flashtrial.cli.main import app
from flashtrial.protocol.records import encode_record
from flashtrial.server.exchange.transfer import Format, NoSuchRuns, NothingToImport, back_up, export_runs, import_runs
from flashtrial.server.neighbours.ledger import ledger_beside
from flashtrial.server.settings import ServerSettings
from flashtrial.server.views import console_lines, metric_points, read_run, read_runs, verify_counts
from testkit.tracking_server import batch, metric, state, tracking_server

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def filled(flashtrial_home: Path) -> ServerSettings:
    """A home of two runs: numbers of every kind, output, data, a file, attempts, tags."""
    settings = ServerSettings(flashtrial_home)
    with tracking_server(flashtrial_home) as server:
        values = [0.1, math.nan, math.inf, -math.inf, 1e308, -0.0]
        steps = [0, 1, 2, 1, 2, 3]
        points = [
            metric(seq, {"x": value, "y/z": 2.0}, step=step)
            for seq, (value, step) in enumerate(zip(values, steps, strict=True), 2)
        ]
        file = {"name": "w", "type": "artifact", "sha256": SHA256, "size": len(CONTENT), "file_name": "w.bin"}
        others = [
            encode_record(20, "console", 20, {"stream": "stdout", "line": 1, "text": 'a "quoted",\nline\r ☃'}),
            encode_record(21, "data", 21, {"name": "t", "type": "table", "step": 3, "value": [[1, "NaN"]]}),
            encode_record(22, "system", 22, {"values": {"sys/cpu": 0.5}}),
            encode_record(23, "file", 23, file),
            encode_record(24, "config", 24, {"set": {"a": {"b": 1}}}),
        ]
        opened = state(1, "running", project="p", name="first", config={"lr": 0.1}, tags=["t"])
        server.ingest(batch("r1", opened, *points, *others, state(30, "failed", reason="it broke")))
        server.ingest(batch("r2", state(1, "running", project="q"), metric(2, {"x": 1.0}), writer_id="w2"))
    blob = settings.blobs_dir / SHA256[:2] / SHA256
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(CONTENT)
    return settings


def _told(settings: ServerSettings, run_id: str) -> dict[str, Any]:
    """All that the two homes must agree on."""
    run = read_run(settings.db_path, run_id)
    assert run is not None
    same = (
        "id",
        "project",
        "name",
        "status",
        "reason",
        "tags",
        "config",
        "summary",
        "points",
        "created_ms",
        "updated_ms",
    )
    shown: dict[str, Any] = {name: run[name] for name in same}  # type: ignore[literal-required]
    for name in ("x", "y/z", "sys/cpu"):
        shown[name] = metric_points(settings.db_path, run_id, name)
    shown["console"] = [
        (line["stream"], line["line"], line["text"]) for line in console_lines(settings.db_path, run_id)
    ]
    return shown


@pytest.mark.parametrize("kind", list(Format))
def test_what_was_exported_is_the_same_when_it_is_taken_in(
    filled: ServerSettings, tmp_path: Path, kind: Format
) -> None:
    done = export_runs(filled, tmp_path / "out", kind)
    assert (done.runs, done.files) == (2, 1)
    other = ServerSettings(tmp_path / "other")
    assert import_runs(other, tmp_path / "out").refused == 0
    for run_id in ("r1", "r2"):
        assert _told(other, run_id) == _told(filled, run_id)
    assert (other.blobs_dir / SHA256[:2] / SHA256).read_bytes() == CONTENT
    again = import_runs(other, tmp_path / "out")
    assert (again.stored, again.refused) == (0, 0)


def test_records_come_back_as_they_were_counted(filled: ServerSettings, tmp_path: Path) -> None:
    done = export_runs(filled, tmp_path / "out", Format.JSON)
    other = ServerSettings(tmp_path / "other")
    assert import_runs(other, tmp_path / "out" / "records.ndjson").stored == done.records
    for run_id in ("r1", "r2"):
        assert verify_counts(other.db_path, run_id) == verify_counts(filled.db_path, run_id)


def test_runs_are_chosen_by_name_or_project(filled: ServerSettings, tmp_path: Path) -> None:
    assert export_runs(filled, tmp_path / "a", Format.JSON, run_ids=["r2"]).runs == 1
    assert export_runs(filled, tmp_path / "b", Format.CSV, project="p").runs == 1
    with pytest.raises(NoSuchRuns, match="r9"):
        export_runs(filled, tmp_path / "c", Format.JSON, run_ids=["r1", "r9"])
    with pytest.raises(NothingToImport):
        import_runs(filled, tmp_path / "c")


def test_the_commands_move_runs_from_one_home_to_another(
    filled: ServerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(home: Path, *words: str) -> str:
        monkeypatch.setenv("FLASHTRIAL_HOME", str(home))
        result = CliRunner().invoke(app, [*words])
        assert result.exit_code == 0, result.output
        return result.output

    out, other = tmp_path / "out", ServerSettings(tmp_path / "other")
    assert said(filled.home, "export", str(out), "--run", "r1", "--format", "csv").startswith("wrote 1 runs (")
    assert "0 refused" in said(other.home, "import", str(out))
    assert "1 files" in said(filled.home, "backup", str(tmp_path / "copy.db"))
    assert _told(other, "r1") == _told(filled, "r1")
    monkeypatch.setenv("FLASHTRIAL_HOME", str(tmp_path / "empty"))
    assert CliRunner().invoke(app, ["backup", str(tmp_path / "none.db")]).exit_code == 1


def test_a_backup_taken_while_records_come_in_is_a_home_of_its_own(filled: ServerSettings, tmp_path: Path) -> None:
    with tracking_server(filled.home) as server:
        server.ingest(batch("r3", metric(1, {"x": 1.0})))
        assert back_up(filled, tmp_path / "copy.db") == 1
        server.ingest(batch("r4", metric(1, {"x": 1.0})))
    assert [run["id"] for run in read_runs(tmp_path / "copy.db")] == ["r3", "r2", "r1"]
    assert sorted(path.name for path in tmp_path.glob("copy.db*")) == ["copy.db", "copy.db.blobs"]
    restored = ServerSettings(tmp_path / "restored")
    restored.home.mkdir()
    (tmp_path / "copy.db").rename(restored.db_path)
    with tracking_server(restored.home) as server:
        assert server.ingest(batch("r3", metric(1, {"x": 1.0})))[0]["duplicates"] == 1


def test_a_backup_knows_which_lines_of_mlflow_clients_it_has(filled: ServerSettings, tmp_path: Path) -> None:
    create = ("POST", "/api/2.0/mlflow/experiments/create", b'{"name": "kept"}', {"Content-Type": "application/json"})
    with tracking_server(filled.home) as server:
        assert server.request(*create).status == 200
    back_up(filled, tmp_path / "copy.db")
    restored = ServerSettings(tmp_path / "restored")
    restored.home.mkdir()
    (tmp_path / "copy.db").rename(restored.db_path)
    (tmp_path / "copy.db.neighbours").rename(ledger_beside(restored.db_path))
    with tracking_server(restored.home) as server:
        assert server.request(*create).json()["error_code"] == "RESOURCE_ALREADY_EXISTS"
