"""Runs written to files and taken in again, and backups of a server that goes on meanwhile."""

import hashlib
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flashtrial.cli.main import app
from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.records import encode_record
from flashtrial.server.exchange.archive import DamagedExport
from flashtrial.server.exchange.backups import back_up
from flashtrial.server.exchange.intake import AnotherRun, NothingToImport, import_runs
from flashtrial.server.exchange.transfer import Format, NoSuchRuns, export_runs
from flashtrial.server.neighbours.ledger import ledger_beside
from flashtrial.server.settings import ServerSettings
from flashtrial.server.views import console_lines, metric_points, read_run, read_runs, verify_counts
from testkit.tracking_server import batch, metric, state, tracking_server

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of two runs: numbers of every kind, output, data, a file, attempts, tags."""
    settings = ServerSettings(tmp_path_factory.mktemp("pattern") / "home")
    with tracking_server(settings.home) as server:
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
    return settings.home


@pytest.fixture
def filled(pattern: Path, flashtrial_home: Path) -> ServerSettings:
    """A copy of that home, this test's own."""
    shutil.copytree(pattern, flashtrial_home)
    return ServerSettings(flashtrial_home)


@pytest.fixture(scope="module")
def exports(pattern: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    """That home exported, in each format."""
    folder = tmp_path_factory.mktemp("exports")
    for kind in Format:
        export_runs(ServerSettings(pattern), folder / kind, kind)
    return {kind: folder / kind for kind in Format}


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


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _lose_a_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


LISTED = [
    *(
        (Format.JSON, name, harm)
        for name in ("records.ndjson", "beside.ndjson")
        for harm in (_cut, _flip, _lose_a_line)
    ),
    *((Format.JSON, f"blobs/{SHA256[:2]}/{SHA256}", harm) for harm in (_cut, _flip, Path.unlink)),
    *((Format.CSV, "metrics.csv", harm) for harm in (_cut, _flip, _lose_a_line, Path.unlink)),
    *((Format.PARQUET, "data.parquet", harm) for harm in (_cut, _flip, Path.unlink)),
    *((Format.JSON, "export.json", harm) for harm in (_cut,)),
]
# Older exports, and those of other programs, have no list of what belongs to them.
UNLISTED = [
    (Format.JSON, "records.ndjson", _cut),
    (Format.JSON, "beside.ndjson", _cut),
    (Format.JSON, f"blobs/{SHA256[:2]}/{SHA256}", _flip),
    *((Format.CSV, f"{name}.csv", _cut) for name in ("runs", "metrics", "console")),
    (Format.CSV, "data.csv", Path.unlink),
    (Format.PARQUET, "metrics.parquet", _cut),
]


@pytest.mark.parametrize(
    "case",
    [*((*case, True) for case in LISTED), *((*case, False) for case in UNLISTED)],
    ids=lambda case: "-".join(getattr(value, "__name__", str(value)[:14]) for value in case),
)
def test_what_is_cut_or_damaged_is_refused_before_anything_is_changed(
    exports: dict[Format, Path], tmp_path: Path, case: tuple[Format, str, Callable[[Path], None], bool]
) -> None:
    kind, name, harm, is_listed = case
    shutil.copytree(exports[kind], tmp_path / "out")
    harm(tmp_path / "out" / name)
    if not is_listed:
        (tmp_path / "out" / "export.json").unlink()
    other = ServerSettings(tmp_path / "other")
    with pytest.raises(DamagedExport, match=r"again|cut or damaged"):
        import_runs(other, tmp_path / "out")
    assert not other.home.exists()


def test_an_export_that_was_cut_off_says_so(filled: ServerSettings, tmp_path: Path) -> None:
    export_runs(filled, tmp_path / "out", Format.JSON)
    (tmp_path / "out" / "beside.ndjson").unlink()
    (tmp_path / "out" / "beside.ndjson").mkdir()  # where the next one fails
    with pytest.raises(OSError, match=r"beside\.ndjson"):
        export_runs(filled, tmp_path / "out", Format.JSON)
    with pytest.raises(DamagedExport, match="was not finished: export it again"):
        import_runs(ServerSettings(tmp_path / "other"), tmp_path / "out")


@pytest.mark.parametrize(
    "said",
    [
        b"[]",
        b"null",
        b'{"format": 1, "is_whole": true}',
        b'{"format": 1, "is_whole": true, "files": [], "blobs": 5}',
        b'{"format": 1, "is_whole": true, "files": {"records.ndjson": 1}, "blobs": []}',
        b'{"format": 2, "is_whole": true}',
    ],
)
def test_a_list_that_says_nothing_we_know_is_refused(exports: dict[Format, Path], tmp_path: Path, said: bytes) -> None:
    shutil.copytree(exports[Format.JSON], tmp_path / "out")
    (tmp_path / "out" / "export.json").write_bytes(said)
    with pytest.raises(FlashtrialError, match=r"export\.json is (damaged: copy|of format 2, .* upgrade)"):
        import_runs(ServerSettings(tmp_path / "other"), tmp_path / "out")
    assert not (tmp_path / "other").exists()


def test_what_was_changed_on_purpose_goes_in_without_the_list(filled: ServerSettings, tmp_path: Path) -> None:
    export_runs(filled, tmp_path / "out", Format.JSON)
    records = tmp_path / "out" / "records.ndjson"
    records.write_bytes(records.read_bytes().replace(b'"first"', b'"other"'))
    other = ServerSettings(tmp_path / "other")
    with pytest.raises(DamagedExport, match=r"delete .*export\.json"):
        import_runs(other, tmp_path / "out")
    (tmp_path / "out" / "export.json").unlink()
    import_runs(other, tmp_path / "out")
    assert [run["name"] for run in read_runs(other.db_path)] == ["r2", "other"]


@pytest.mark.parametrize("kind", list(Format))
def test_another_run_of_the_same_id_is_never_mixed_in(
    exports: dict[Format, Path], tmp_path: Path, kind: Format
) -> None:
    other = ServerSettings(tmp_path / "other")
    with tracking_server(other.home) as server:
        server.ingest(batch("r2", state(9, "running", project="else"), metric(10, {"x": 5.0}), writer_id="stranger"))
    with pytest.raises(AnotherRun, match=r"r2 is here already.*--run.*FLASHTRIAL_HOME"):
        import_runs(other, exports[kind])
    assert [(run["id"], run["project"]) for run in read_runs(other.db_path)] == [("r2", "else")]
    assert not list(other.blobs_dir.glob("*/*"))


@pytest.mark.parametrize("kind", list(Format))
def test_runs_taken_in_where_they_came_from_stay_as_they_are(
    filled: ServerSettings, tmp_path: Path, kind: Format
) -> None:
    export_runs(filled, tmp_path / "out", kind)
    with tracking_server(filled.home) as server:
        server.ingest(batch("r2", state(40, "failed", reason="later"), writer_id="w2"))
    before = [(_told(filled, run_id), verify_counts(filled.db_path, run_id)) for run_id in ("r1", "r2")]
    assert import_runs(filled, tmp_path / "out").stored == 0
    assert [(_told(filled, run_id), verify_counts(filled.db_path, run_id)) for run_id in ("r1", "r2")] == before


def test_a_run_that_was_removed_is_there_again(filled: ServerSettings, tmp_path: Path) -> None:
    export_runs(filled, tmp_path / "out", Format.JSON)
    before = _told(filled, "r1")
    with tracking_server(filled.home) as server:
        assert server.request("DELETE", "/api/v1/runs/r1").status == 200
    assert not (filled.blobs_dir / SHA256[:2] / SHA256).exists()
    assert import_runs(filled, tmp_path / "out").refused == 0
    assert _told(filled, "r1") == before
    assert (filled.blobs_dir / SHA256[:2] / SHA256).read_bytes() == CONTENT


def test_secrets_are_as_the_home_wants_them(filled: ServerSettings, tmp_path: Path) -> None:
    """Whoever keeps them on purpose moves them, too."""
    kept = ServerSettings(tmp_path / "kept", mask_secrets=False)
    with tracking_server(kept.home, mask_secrets=False) as server:
        server.ingest(batch("s", state(1, "running", config={"api_key": "k"})))
    export_runs(kept, tmp_path / "out", Format.JSON, run_ids=["s"])
    for masks, shown in ((False, "k"), (True, "***")):
        other = ServerSettings(tmp_path / f"other-{masks}", mask_secrets=masks)
        import_runs(other, tmp_path / "out")
        run = read_run(other.db_path, "s")
        assert run is not None
        assert run["config"] == {"api_key": shown}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "{tmp}/a-file"], "is no directory: name one, or a new one"),
        (["export", "{tmp}/out", "--project", "nobody's"], "there are no runs of project nobody's"),
        (["export", "{tmp}/out", "--run", "r9"], "there are no runs r9"),
        (["import", "{tmp}/nowhere"], "there is no "),
        (["import", "{tmp}"], "holds no records.ndjson"),
        (["import", "{home}/server.db"], "is a backup, no export"),
        (["import", "{tmp}/a-file"], "is cut or damaged in line 1"),
        (["backup", "{tmp}"], "is a directory: name the file"),
        (["backup", "{home}/server.db"], "lies in the home that is backed up"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_moved_is_said_in_a_line(
    filled: ServerSettings, tmp_path: Path, words: list[str], said: str
) -> None:
    (tmp_path / "a-file").write_text("words\n")
    before = filled.db_path.read_bytes()
    result = CliRunner().invoke(app, [word.format(tmp=tmp_path, home=filled.home) for word in words])
    assert result.exit_code == 1
    assert result.output.startswith("flashtrial: ")
    assert said in result.output
    assert not (tmp_path / "out").exists()
    assert filled.db_path.read_bytes() == before


@pytest.mark.parametrize("command", ["export", "backup"])
def test_of_a_home_without_a_database_nothing_is_written(flashtrial_home: Path, tmp_path: Path, command: str) -> None:
    result = CliRunner().invoke(app, [command, str(tmp_path / "out")])
    assert (result.exit_code, f"there is no database in {flashtrial_home} yet" in result.output) == (1, True)
    assert not (tmp_path / "out").exists()


def test_a_backup_is_its_owners_alone(filled: ServerSettings, tmp_path: Path) -> None:
    back_up(filled, tmp_path / "new" / "copy.db")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").rglob("*")}
    assert modes.pop("copy.db.blobs") == modes.pop(SHA256[:2]) == 0o700
    assert modes == dict.fromkeys(("copy.db", SHA256), 0o600)
