"""MLflow's artifacts: a run's files, seen as a tree of paths.

What MLflow's clients put has its path as the record's name. A file of another client lies at its name, its step and its
file name. A path that was put twice shows what came last.
"""

import mimetypes
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flashtrial.protocol.records import RecordKind
from flashtrial.server.files.blobs import BlobKey, BlobStore
from flashtrial.server.files.content import DOWNLOAD
from flashtrial.server.files.rows import FileQuery, FileView, list_files
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.neighbours.mlflow.errors import INVALID, MISSING, MlflowError
from flashtrial.server.neighbours.mlflow.runs import MlflowRuns
from flashtrial.server.neighbours.recorder import Entry, Recorder
from flashtrial.server.views import MAX_PAGE

GONE = "mlflow.gone"
TYPE = "artifact"


@dataclass(frozen=True, slots=True)
class Place:
    """A path in the artifacts of a run; empty for the root."""

    run_id: str
    path: str


class MlflowArtifacts:
    """Artifacts of all runs. From any thread; `store` has been started."""

    def __init__(self, store: BlobStore, db_path: Path, recorder: Recorder, ledger: Ledger, runs: MlflowRuns) -> None:
        self.store = store
        self._db_path = db_path
        self._recorder = recorder
        self._ledger = ledger
        self._runs = runs

    def place(self, address: str) -> Place:
        """What ``<experiment>/<run>/artifacts/<path>`` names. Raises `MlflowError`."""
        _, _, rest = checked_path(address).partition("/")
        run_id, _, rest = rest.partition("/")
        word, _, path = rest.partition("/")
        if word != "artifacts":
            raise MlflowError(f"No such artifact: {address[:500]!r}", MISSING)
        return Place(self._runs.view(run_id)["id"], path)

    def put(self, place: Place, key: BlobKey) -> None:
        """The bytes of an artifact are here. Raises `MlflowError`."""
        name = posixpath.basename(place.path)
        if not name:
            raise MlflowError("an artifact needs a path", INVALID)
        body = {
            "name": place.path,
            "step": None,
            "type": TYPE,
            "sha256": key.sha256,
            "size": key.size_bytes,
            "mime": mimetypes.guess_type(name)[0] or DOWNLOAD,
            "file_name": name,
        }
        if (old := self._tree(place.run_id).get(place.path)) is not None and old["sha256"] == key.sha256:
            return
        if refused := self._recorder.write(place.run_id, [Entry(RecordKind.FILE, self._recorder.now_ms(), body)]):
            raise MlflowError("; ".join(refused), INVALID)

    def file(self, place: Place) -> tuple[Path, FileView]:
        """Where the bytes of an artifact lie, and what it is. Raises `MlflowError`."""
        found = self._tree(place.run_id).get(place.path)
        path = None if found is None else self.store.path_of(found["sha256"])
        if found is None or path is None:
            raise MlflowError(f"No such artifact: {place.path[:500]!r}", MISSING)
        return path, found

    def listed(self, place: Place) -> list[dict[str, Any]]:
        """What lies directly below a path; paths are relative to the root. The file itself where it is one."""
        tree = self._tree(place.run_id)
        if place.path in tree:
            return [_entry(place.path, tree[place.path])]
        prefix = f"{place.path}/" if place.path else ""
        found: dict[str, dict[str, Any]] = {}
        for path, file in tree.items():
            if path.startswith(prefix):
                head, is_below, _ = path.removeprefix(prefix).partition("/")
                found[head] = {"path": prefix + head, "is_dir": True} if is_below else _entry(path, file)
        return [entry for _, entry in sorted(found.items())]

    def remove(self, place: Place) -> None:
        """Show an artifact, or all below a path, no more; its record stays. Raises `MlflowError`."""
        gone = {path: file["id"] for path, file in self._tree(place.run_id).items() if _is_below(path, place.path)}
        if not gone:
            raise MlflowError(f"No such artifact: {place.path[:500]!r}", MISSING)
        self._ledger.merge_fact(place.run_id, GONE, gone)

    def _tree(self, run_id: str) -> dict[str, FileView]:
        """The files by path; of several at one path the last."""
        found = {_path_of(file): file for file in self._files(run_id)}
        gone = self._ledger.fact(run_id, GONE)
        if isinstance(gone, dict):
            for path, last in gone.items():
                if path in found and isinstance(last, int) and found[path]["id"] <= last:
                    del found[path]
        return found

    def _files(self, run_id: str) -> Iterator[FileView]:
        after = 0
        while page := list_files(self._db_path, FileQuery(run_id, after=after, limit=MAX_PAGE)):
            yield from page
            after = page[-1]["id"]


def checked_path(path: str) -> str:
    """`path` without slashes at its ends. Raises `MlflowError` for one that leaves its place."""
    parts = path.strip("/").split("/")
    if ".." in parts or "\\" in path or "\0" in path:
        raise MlflowError("Invalid path", INVALID)
    return "/".join(part for part in parts if part not in ("", "."))


def _path_of(file: FileView) -> str:
    if file["type"] == TYPE and posixpath.basename(file["name"]) == file["file_name"]:
        return file["name"]
    step = [] if file["step"] is None else [f"step_{file['step']}"]
    parts = [*file["name"].split("/"), *step, file["file_name"].replace("/", "_")]
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def _is_below(path: str, folder: str) -> bool:
    return path == folder or not folder or path.startswith(f"{folder}/")


def _entry(path: str, file: FileView) -> dict[str, Any]:
    return {"path": path, "is_dir": False, "file_size": file["size"]}
