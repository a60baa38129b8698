"""The shapes of answers and bodies, for the description in OpenAPI alone: answers are written without going through
them, and the body of an ingest request is taken apart by hand."""

from typing import Any, Literal

from pydantic import BaseModel

Number = float | Literal["NaN", "Infinity", "-Infinity"]


class ErrorShape(BaseModel):
    """Why there is no answer; `error` is a stable word for programs."""

    error: str
    message: str


class RunShape(BaseModel):
    """A run as lists show it; times are milliseconds since the epoch."""

    id: str
    project: str
    name: str
    status: str
    tags: list[str]
    config: dict[str, Any]
    summary: dict[str, Number]
    points: dict[str, int]
    created_ms: int
    updated_ms: int


class ForkShape(BaseModel):
    """Where a run begins: behind this step of that run."""

    run_id: str
    step: int | None


class WriterShape(BaseModel):
    """A process that writes, or wrote, to the run."""

    writer_id: str
    role: str | None
    state: str | None
    host: str | None
    reason: str | None
    heard_ms: int


class WriterCountShape(BaseModel):
    """What arrived from one writer: how many of its sequence numbers, the highest, and how many twice."""

    writer_id: str
    stored: int
    max_seq: int
    doubled: int


class WriterCountsShape(BaseModel):
    """What arrived from each writer of a run."""

    writers: list[WriterCountShape]


class RunDetailShape(RunShape):
    """One run with all that its page shows."""

    host: str | None
    reason: str | None
    last_seen_ms: int
    fork: ForkShape | None
    writers: list[WriterShape]


class RunRowShape(BaseModel):
    """A run in a list: all that `RunShape` has, or the columns asked for, the id always among them."""

    id: str
    project: str = ""
    name: str = ""
    status: str = ""
    tags: list[str] = []
    config: dict[str, Any] = {}
    summary: dict[str, Number] = {}
    points: dict[str, int] = {}
    created_ms: int = 0
    updated_ms: int = 0


class RunPageShape(BaseModel):
    """Runs, and the cursor of the next page."""

    runs: list[RunRowShape]
    next: str | None


class GapShape(BaseModel):
    """Stored points that were damaged."""

    points: int
    first_step: int | None
    last_step: int | None


class SeriesShape(BaseModel):
    """The curve of one series: [step, time_ms, value]."""

    name: str
    points: list[tuple[int, int, Number]]
    unreadable: list[GapShape] = []


class AttemptShape(BaseModel):
    """One attempt of a series."""

    attempt: int
    writer_id: str
    points: list[tuple[int, int, Number]]


class AttemptsShape(BaseModel):
    """All attempts of one series, apart."""

    name: str
    attempts: list[AttemptShape]
    unreadable: list[GapShape] = []


class ManyShape(BaseModel):
    """Several series, in the order asked for."""

    series: list[SeriesShape | AttemptsShape]


class NamesShape(BaseModel):
    """The names of a run's series."""

    names: list[str]
    system: list[str]


class LineShape(BaseModel):
    """One printed line."""

    id: int
    time_ms: int
    stream: str
    line: int
    text: str


class ConsoleShape(BaseModel):
    """Printed lines, and the id to go on behind."""

    lines: list[LineShape]
    next: int


class CountShape(BaseModel):
    """A project or a tag, and how many runs have it."""

    name: str
    runs: int


class CountsShape(BaseModel):
    """Projects or tags, and where the next page starts."""

    items: list[CountShape]
    next: int | None


class ChangeShape(BaseModel):
    """One state, config or tags record of a run."""

    writer_id: str
    seq: int
    time_ms: int
    kind: str
    body: dict[str, Any]


class ChangesShape(BaseModel):
    """What happened to a run, by time."""

    changes: list[ChangeShape]
    next: int | None


class RemovedShape(BaseModel):
    """The run is no more."""

    removed: str


class RecordShape(BaseModel):
    """One record of an ingest request; bodies by kind are described in `flashtrial.protocol.records`."""

    run_id: str
    writer_id: str
    seq: int
    kind: Literal["metric", "system", "console", "config", "tags", "data", "file", "state"]
    time_ms: int
    body: dict[str, Any]


class RefusalShape(BaseModel):
    """A record that was not stored, and why."""

    seq: int
    reason: str


class ResultShape(BaseModel):
    """What became of one writer's records: what is not refused is stored and committed."""

    run_id: str
    writer_id: str
    stored: int
    duplicates: int
    refused: list[RefusalShape]
    error: str | None = None


class RefusedLineShape(BaseModel):
    """A line that names no record."""

    line: int
    reason: str


class IngestedShape(BaseModel):
    """A result for each writer, in the order of the batches."""

    results: list[ResultShape]
    refused_lines: list[RefusedLineShape] | None = None


class UploadShape(BaseModel):
    """Where an upload stands; `chunk` is the most bytes that one request may bring."""

    sha256: str
    size: int
    received: int
    is_complete: bool
    chunk: int


class OutOfPlaceShape(ErrorShape):
    """A chunk that does not follow: go on at `received`."""

    received: int


class FileShape(BaseModel):
    """A logged file; `is_pending` while its bytes are not here."""

    id: int
    name: str
    step: int | None
    index: int
    type: str
    sha256: str
    size: int
    mime: str
    file_name: str
    caption: str | None
    meta: dict[str, Any]
    time_ms: int
    is_pending: bool


class FilesShape(BaseModel):
    """Files of a run, and the id to go on behind."""

    files: list[FileShape]
    next: int | None


class DatumShape(BaseModel):
    """A table, a histogram, a graph or a text, as the client logged it."""

    name: str
    type: str
    step: int | None
    time_ms: int
    value: Any


class DataShape(BaseModel):
    """Data of a run, and where the next page starts."""

    data: list[DatumShape]
    next: int | None


class HealthShape(BaseModel):
    """The process lives."""

    status: Literal["ok"]
    name: str
    version: str


class ReadyShape(BaseModel):
    """Records will be stored."""

    status: Literal["ready"]


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorShape} for status in (400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 503)
}

BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes", "content": {"*/*": {}}},
    206: {"description": "A range of the bytes", "content": {"*/*": {}}},
    304: {"description": "Not modified"},
    416: {"description": "No such range"},
}

_RECORDS = {"type": "array", "items": RecordShape.model_json_schema()}
CHUNK_BODY: dict[str, Any] = {
    "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}
INGEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _RECORDS},
            "application/x-ndjson": {"schema": {"type": "string", "description": "one record a line"}},
            "application/msgpack": {
                "schema": {"type": "string", "format": "binary", "description": "[{run_id, writer_id, frames}, …]"}
            },
        },
    }
}
