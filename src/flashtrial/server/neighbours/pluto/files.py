"""Files of Pluto's clients: an address to put each one at, the file record once its bytes are here, and lists.

The address says all that the record needs, signed, so nothing is remembered between the two requests.
"""

import mimetypes
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flashtrial.protocol.records import RecordKind
from flashtrial.server.files.blobs import BlobKey, BlobStore
from flashtrial.server.files.rows import FileQuery, FileView, list_files
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.neighbours.permits import checked, signed
from flashtrial.server.neighbours.pluto.runs import PlutoRuns, Unwanted
from flashtrial.server.neighbours.recorder import Entry, Recorder
from flashtrial.server.neighbours.runs import NumberedRun
from flashtrial.server.neighbours.wire_json import BadJson, loads_map
from flashtrial.server.views import MAX_PAGE

PUT, GET = "pluto-put", "pluto-get"
_KINDS = ("image", "audio", "video", "text")


class PlutoFiles:
    """Files in and out. From any thread; `store` has been started."""

    def __init__(self, store: BlobStore, db_path: Path, recorder: Recorder, ledger: Ledger, runs: PlutoRuns) -> None:
        self.store = store
        self._db_path = db_path
        self._recorder = recorder
        self._ledger = ledger
        self._runs = runs

    def addresses(self, run: NumberedRun, said: Mapping[str, Any], base: str) -> dict[str, list[dict[str, str]]]:
        """For each file that the client announces, by log name, where it should put it. Raises `Unwanted`."""
        wanted = said.get("files")
        if not isinstance(wanted, list) or not all(isinstance(file, dict) for file in wanted):
            raise Unwanted("files is not a list of objects")
        found: dict[str, list[dict[str, str]]] = {}
        names = self._runs.names(run.view["id"])
        for file in wanted:
            words = _words(file, names)
            permit = signed(self._ledger.secret, PUT, {"run": run.view["id"], "body": words}, self._recorder.now_ms())
            found.setdefault(words["name"], []).append({str(file.get("fileName")): f"{base}/pluto/put/{permit}"})
        return found

    def permit(self, purpose: str, text: str) -> dict[str, Any]:
        """What an address was given out for. Raises `NoPermit`."""
        return checked(self._ledger.secret, purpose, text, self._recorder.now_ms())

    def stored(self, permit: Mapping[str, Any], key: BlobKey, mime: str) -> None:
        """The bytes of an announced file are here. Raises `Unwanted`."""
        body = {**permit["body"], "sha256": key.sha256, "size": key.size_bytes, "mime": mime}
        time_ms = body.pop("time")
        if refused := self._recorder.write(permit["run"], [Entry(RecordKind.FILE, time_ms, body, once=True)]):
            raise Unwanted("; ".join(refused))

    def listed(self, run: NumberedRun, name: str | None, base: str) -> list[dict[str, Any]]:
        """The run's files, those of one log name or file name, with an address to get each from."""
        files = self._all(run.view["id"])
        return [self._shown(run, file, base) for file in files if name in (None, file["name"], file["file_name"])]

    def _all(self, run_id: str) -> Iterator[FileView]:
        after = 0
        while page := list_files(self._db_path, FileQuery(run_id, after=after, limit=MAX_PAGE)):
            yield from page
            after = page[-1]["id"]

    def _shown(self, run: NumberedRun, file: FileView, base: str) -> dict[str, Any]:
        words = {"sha256": file["sha256"], "mime": file["mime"], "name": file["file_name"]}
        url = f"{base}/pluto/get/{signed(self._ledger.secret, GET, words, self._recorder.now_ms())}"
        return {
            "fileName": file["file_name"],
            "fileType": Path(file["file_name"]).suffix.lstrip(".") or file["type"],
            "fileSize": file["size"],
            "logName": file["name"],
            "step": file["step"],
            "sampleIndex": file["index"],
            "caption": file["caption"],
            "annotations": file["meta"].get("annotations"),
            "time": file["time_ms"],
            "runId": run.number,
            "url": url,
            "downloadUrl": url,
        }


def _words(file: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A file record's body, as far as it is known before the bytes are here."""
    file_name, name = str(file.get("fileName") or "file"), str(file.get("logName") or file.get("fileName") or "file")
    step, index, time_ms = file.get("step"), file.get("sampleIndex"), file.get("time")
    words = {
        "name": name,
        "step": step if isinstance(step, int) else None,
        "index": index if isinstance(index, int) else 0,
        "type": _type(file_name, file.get("fileType"), names.get(name)),
        "file_name": file_name,
        "time": time_ms if isinstance(time_ms, int) and time_ms >= 0 else 0,
        "meta": _meta(file),
    }
    return words | ({"caption": file["caption"]} if isinstance(file.get("caption"), str) else {})


def _meta(file: Mapping[str, Any]) -> dict[str, Any]:
    annotations = file.get("annotations")
    if not isinstance(annotations, str):
        return {}
    try:
        return {"annotations": loads_map(annotations)}
    except BadJson:
        return {"annotations": annotations}


def _type(file_name: str, file_type: object, announced: str | None) -> str:
    if file_type == "mask":
        return "mask"
    if announced is not None and announced.lower() in (*_KINDS, "artifact", "file"):
        return announced.lower()
    kind = (mimetypes.guess_type(file_name)[0] or "").partition("/")[0]
    return kind if kind in _KINDS else "file"
