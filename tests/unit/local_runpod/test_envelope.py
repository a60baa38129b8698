"""The wrapping around a job's bytes."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.local_runpod import envelope
from flashtrial.local_runpod.errors import BadRequest
from flashtrial.local_runpod.jobs import Job, JobStatus, TakenJob

pytestmark = pytest.mark.unit

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
objects = st.dictionaries(st.text(), values)


def encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


@given(objects, st.booleans())
def test_an_input_comes_through_byte_for_byte(job_input: dict[str, object], is_plain: bool) -> None:
    raw = json.dumps(job_input, ensure_ascii=not is_plain, indent=1).encode()
    assert envelope.read_request(b'{"input":' + raw + b"}").input == raw
    assert json.loads(envelope.job_object(TakenJob("j", raw))) == {"id": "j", "input": job_input}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        assert isinstance(json.loads(envelope.read_request(body).input), dict)


@given(st.integers(1, 600), st.sampled_from(["[]", "{}"]))
def test_the_bound_on_nesting_is_exact(depth: int, pair: str) -> None:
    opening = "[" if pair == "[]" else '{"a":'
    body = '{"input":{"x":' + opening * depth + "1" + pair[1] * depth + "}}"
    if depth + 2 > envelope.MAX_DEPTH:
        with pytest.raises(BadRequest, match="deeper"):
            envelope.read_request(body.encode())
    else:
        assert envelope.read_request(body.encode()).input == body[len('{"input":') : -1].encode()


@pytest.mark.parametrize("opening", ["[", '{"a":', '[[],{"a":', "[]["])
def test_brackets_that_never_close_are_refused_however_many(opening: str) -> None:
    for depth in (1, 20_000):
        with pytest.raises(BadRequest, match=r"not JSON|deeper"):
            envelope.read_request(b'{"input":{"x":' + opening.encode() * depth)


def test_brackets_and_digits_inside_strings_do_not_count() -> None:
    text = json.dumps({"a": "[" * 5000 + '\\"' + "9" * 5000})
    assert envelope.read_request(b'{"input":' + text.encode() + b"}").input == text.encode()


def test_limits_are_read_from_the_policy() -> None:
    request = envelope.read_request(b'{"input":{},"policy":{"executionTimeout":5,"ttl":0},"webhook":"http://x"}')
    assert (request.execution_timeout_ms, request.ttl_ms) == (5, None)


@pytest.mark.parametrize("name", ["executionTimeout", "ttl"])
def test_a_limit_beyond_all_bounds_is_a_very_long_time(name: str) -> None:
    request = envelope.read_request(b'{"input":{},"policy":{"%s":%d}}' % (name.encode(), 10**30))
    limits_ms = [limit_ms for limit_ms in (request.execution_timeout_ms, request.ttl_ms) if limit_ms is not None]
    assert len(limits_ms) == 1
    assert 10**13 < limits_ms[0] < 2**62, "centuries, and a date that the database can hold"


@pytest.mark.parametrize(
    ("body", "output", "error"),
    [
        (b'{"output": {"a": 1}}', b'{"a": 1}', None),
        (b'{"output": {"a": 1}, "error": "no"}', b'{"a": 1}', "no"),
        (b'{"error": {"why": 1}}', None, '{"why": 1}'),
        (b'{"error": null, "output": null}', b"null", None),
        (b'{"output": [NaN, -Infinity]}', b"[NaN, -Infinity]", None),
        (b"{}", None, None),
    ],
)
def test_a_workers_report_is_read(body: bytes, output: bytes | None, error: str | None) -> None:
    report = envelope.read_report(body)
    assert (report.output, report.error, report.is_progress) == (output, error, False)


def test_a_progress_update_is_no_result() -> None:
    assert envelope.read_report(b'{"status": "IN_PROGRESS", "output": 1}').is_progress


def test_a_worker_may_ask_to_be_replaced() -> None:
    assert envelope.read_report(b'{"output": 1, "stopPod": true}').stops_pod


@pytest.mark.parametrize("body", [b"", b"[]", b"NaN", b"{", b'{"output": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"])
def test_a_report_that_nobody_can_read_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        envelope.read_report(body)


@given(st.text(), values)
def test_a_status_always_has_what_the_sdk_insists_on(error: str, output: object) -> None:
    job = Job("j", "e", JobStatus.FAILED, 10, 30, 70, "w", error, encoded(output).decode(errors="replace").encode())
    answer = json.loads(envelope.status_object(job))
    assert (answer["id"], answer["status"], answer["workerId"]) == ("j", "FAILED", "w")
    assert (answer["delayTime"], answer["executionTime"]) == (20, 40)
    assert answer["error"] == error


def test_a_job_that_waits_has_no_worker_and_no_output() -> None:
    answer = json.loads(envelope.status_object(Job("j", "e", JobStatus.IN_QUEUE, 10)))
    assert answer == {"id": "j", "status": "IN_QUEUE", "workerId": "", "delayTime": 0, "executionTime": 0}


def test_a_stream_is_the_status_with_chunks() -> None:
    answer = json.loads(envelope.stream_object(Job("j", "e", JobStatus.IN_PROGRESS, 10), [b'{"output": 1}']))
    assert answer["stream"] == [{"output": 1}]
    assert answer["status"] == "IN_PROGRESS"
