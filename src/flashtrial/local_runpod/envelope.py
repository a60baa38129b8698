"""The wrapping around a job's bytes: read at the edge, with `input` and `output` left as the JSON they came in.

What is let through is what the worker's own JSON parser can read, because a job that it cannot read takes down the
batch in which it was handed out: hence the bounds on nesting and on digits, which JSON itself does not have.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import msgspec

from flashtrial.local_runpod.errors import BadRequest
from flashtrial.local_runpod.jobs import Job, TakenJob

MAX_DEPTH = 500  # Python's own parser gives up near 1000, less the depth at which it is called
LONGEST_MS = 2**53  # with which today's date still fits into the database
MAX_DIGITS = 4000  # Python refuses to make an int of more than 4300

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % MAX_DIGITS)
_NO_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_AS_PARENTHESES = bytes.maketrans(b"[{]}", b"(())")
_STEPS = {ord("("): 1, ord(")"): -1}
_ABSENT = msgspec.Raw(b"")


class _Policy(msgspec.Struct, rename="camel"):
    execution_timeout: int | None = None
    ttl: int | None = None


class _RunBody(msgspec.Struct):
    input: msgspec.Raw = _ABSENT
    policy: _Policy | None = None


class _DoneBody(msgspec.Struct, rename="camel"):
    output: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    status: str | None = None
    stop_pod: bool = False


_run_bodies = msgspec.json.Decoder(_RunBody)
_done_bodies = msgspec.json.Decoder(_DoneBody)


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a client wants run: the input's JSON, and its limits in milliseconds where it gave any."""

    input: bytes
    execution_timeout_ms: int | None = None
    ttl_ms: int | None = None


@dataclass(frozen=True, slots=True)
class JobReport:
    """What a worker says of a job: its result, or (`is_progress`) how far it has come."""

    output: bytes | None
    error: str | None
    is_progress: bool
    stops_pod: bool


def read_request(body: bytes) -> JobRequest:
    """The job in the body of ``/run``. Raises `BadRequest` with a reason that helps its sender."""
    _check_readable(body)
    try:
        fields = _run_bodies.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the body does not have the shape of a job: {error}") from error
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    job_input = bytes(fields.input)
    if not job_input:
        raise BadRequest('the body has no "input"; send {"input": {…}}')
    if not job_input.startswith(b"{"):
        raise BadRequest('"input" must be a JSON object')
    policy = fields.policy or _Policy()
    return JobRequest(job_input, _positive(policy.execution_timeout), _positive(policy.ttl))


def read_report(body: bytes) -> JobReport:
    """What a worker posted about a job.

    Python's encoder writes NaN and infinities, which JSON does not have: such a body is read by Python's own parser and
    keeps them. Raises `BadRequest` for what that cannot read either.
    """
    try:
        fields = _done_bodies.decode(body)
    except (msgspec.DecodeError, RecursionError):
        fields = _read_as_python_does(body)
    output, error = bytes(fields.output), bytes(fields.error)
    return JobReport(
        output=output or None,
        error=_text(error) if error and error != b"null" else None,
        is_progress=fields.status == "IN_PROGRESS",
        stops_pod=fields.stop_pod,
    )


def read_chunk(body: bytes) -> bytes:
    """The JSON of one streamed chunk, ``{"output": …}`` or ``{"error": …}``, as the worker sent it."""
    report = read_report(body)
    return body if report.output is not None else json.dumps({"error": report.error}).encode()


def status_object(job: Job) -> bytes:
    """What ``/status`` answers: the stock SDK insists on the first five fields, with these types."""
    return b"{" + _status_fields(job) + b"}"


def stream_object(job: Job, chunks: Sequence[bytes]) -> bytes:
    """What ``/stream`` answers: the status, and the chunks that were not yet handed out."""
    return b"{" + _status_fields(job) + b',"stream":[' + b",".join(chunks) + b"]}"


def job_object(job: TakenJob) -> bytes:
    """What a worker is handed."""
    return b'{"id":"' + job.id.encode() + b'","input":' + job.input + b"}"


def job_list(jobs: Sequence[TakenJob]) -> bytes:
    """What a worker is handed that asked for several."""
    return b"[" + b",".join(map(job_object, jobs)) + b"]"


def _status_fields(job: Job) -> bytes:
    known = {
        "id": job.id,
        "status": job.status,
        "workerId": job.worker_id or "",
        "delayTime": job.delay_ms,
        "executionTime": job.execution_ms,
    }
    if job.error is not None:
        known["error"] = job.error
    fields = json.dumps(known).encode()[1:-1]
    return fields if job.output is None else fields + b',"output":' + job.output


def _check_readable(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: {error}") from error
    skeleton = _STRING.sub(b"", body)
    if _LONG_NUMBER.search(skeleton):
        raise BadRequest(f"the body has a number of more than {MAX_DIGITS} digits")
    if _is_deeper_than(skeleton, MAX_DEPTH):
        raise BadRequest(f"the body is nested deeper than {MAX_DEPTH} levels")


def _is_deeper_than(skeleton: bytes, levels: int) -> bool:
    """Whether brackets nest deeper than `levels`, closed or not; with no recursion, and in one pass."""
    brackets = skeleton.translate(_AS_PARENTHESES, _NO_BRACKETS)
    outer = brackets.replace(b"()", b"")  # most of most bodies' brackets are innermost ones: one level less
    return max(accumulate(map(_STEPS.__getitem__, outer)), default=0) > levels - (len(outer) < len(brackets))


def _read_as_python_does(body: bytes) -> _DoneBody:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the worker's answer is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadRequest("the worker's answer is not a JSON object")
    return _DoneBody(
        output=msgspec.Raw(json.dumps(fields["output"]).encode()) if "output" in fields else _ABSENT,
        error=msgspec.Raw(json.dumps(fields["error"]).encode()) if "error" in fields else _ABSENT,
        status=str(fields.get("status")),
        stop_pod=bool(fields.get("stopPod")),
    )


def _text(raw: bytes) -> str:
    """An error as text, which is what clients take it for; what is no JSON string stays as JSON."""
    value = json.loads(raw) if raw.startswith(b'"') else None
    text = value if isinstance(value, str) else raw.decode(errors="replace")
    return text.encode(errors="replace").decode()  # a lone half of a surrogate pair is no text for the database


def _positive(milliseconds: int | None) -> int | None:
    return min(milliseconds, LONGEST_MS) if milliseconds and milliseconds > 0 else None
