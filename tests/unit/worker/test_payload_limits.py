"""Answers made to fit."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.protocol.execution import FailureKind, FunctionRequest, FunctionResponse
from flashtrial.worker.loop.payload_limits import PayloadLimits, ResultTooLarge, cut, json_bytes
from flashtrial.worker.loop.volume_results import VolumeResults

LIMIT = 20_000


def wire_bytes(response: FunctionResponse) -> int:
    return len(json.dumps(response.to_wire(), ensure_ascii=False).encode("utf-8", "surrogatepass"))


async def test_what_fits_is_not_touched() -> None:
    response = FunctionResponse(success=True, result="x" * 15_000, stdout="said")
    assert await PayloadLimits(LIMIT).fitted(response, "job") is response
    large = FunctionResponse(success=True, result="x" * 10**6)
    assert await PayloadLimits(None).fitted(large, "job") is large


async def test_the_output_is_cut_before_the_result_is_given_up() -> None:
    response = FunctionResponse(success=True, json_result=[1] * 2000, stdout="a" * 50_000 + "end")
    fitted = await PayloadLimits(LIMIT).fitted(response, "job")
    assert fitted.json_result == [1] * 2000
    assert "bytes cut" in fitted.stdout
    assert fitted.stdout.startswith("aaa")
    assert fitted.stdout.endswith("end")
    assert 0.7 * LIMIT < wire_bytes(fitted) <= LIMIT


async def test_without_a_store_a_large_result_is_an_error_with_both_sizes_and_the_output() -> None:
    response = FunctionResponse(success=True, result="x" * 30_000, stdout="said", instance_id="i")
    fitted = await PayloadLimits(LIMIT).fitted(response, "job")
    assert (fitted.success, fitted.error_kind, fitted.stdout, fitted.instance_id) == (
        False,
        FailureKind.RESULT,
        "said",
        "i",
    )
    assert "30,0" in (fitted.error or "")
    assert "18,976" in (fitted.error or "")


@pytest.mark.parametrize(
    ("fields", "form", "content"),
    [
        ({"result": "x" * 30_000}, "cloudpickle", b"x" * 30_000),
        ({"json_result": "é" * 30_000}, "json", json.dumps("é" * 30_000, ensure_ascii=False).encode()),
    ],
)
async def test_with_a_volume_a_large_result_lies_there_whole(
    tmp_path: Path, fields: dict[str, Any], form: str, content: bytes
) -> None:
    limits = PayloadLimits(LIMIT, VolumeResults(tmp_path / "results"))
    fitted = await limits.fitted(FunctionResponse(success=True, stdout="said", **fields), "job-1")
    place = tmp_path / "results" / "job-1"
    assert place.read_bytes() == content
    assert fitted.result_ref == {
        "path": str(place),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "format": form,
    }
    assert (fitted.success, fitted.result, fitted.json_result) == (True, None, None)
    assert fitted.stdout.startswith("said\n[flashtrial] the result (")


@pytest.mark.parametrize(
    "job_id", ["../../etc/passwd", "/etc/passwd", ".hidden", "", "a" * 300, "a/b", "\udc80", "a\0"]
)
async def test_a_job_id_never_leads_out_of_the_directory(tmp_path: Path, job_id: str) -> None:
    limits = PayloadLimits(LIMIT, VolumeResults(tmp_path / "results"))
    fitted = await limits.fitted(FunctionResponse(success=True, result="x" * 30_000), job_id)
    assert fitted.result_ref is not None
    assert Path(fitted.result_ref["path"]).parent == tmp_path / "results"
    assert len(list((tmp_path / "results").iterdir())) == 1


async def test_a_volume_that_does_not_take_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where the directory should be")
    limits = PayloadLimits(LIMIT, VolumeResults(tmp_path / "results"))
    fitted = await limits.fitted(FunctionResponse(success=True, result="x" * 30_000), "job")
    assert fitted.error_kind is FailureKind.RESULT
    assert "volume failed" in (fitted.error or "")


async def test_a_failure_keeps_its_kind_and_is_shortened() -> None:
    response = FunctionResponse(
        success=False, error="\n" * 50_000, error_kind=FailureKind.USER_CODE, stdout="\0" * 50_000
    )
    fitted = await PayloadLimits(LIMIT).fitted(response, "job")
    assert fitted.error_kind is FailureKind.USER_CODE
    assert wire_bytes(fitted) <= LIMIT


def test_a_declared_size_is_refused_only_where_it_cannot_be_answered(tmp_path: Path) -> None:
    request = FunctionRequest(function_name="f", expected_result_bytes=LIMIT + 1)
    with pytest.raises(ResultTooLarge, match="20,001 bytes"):
        PayloadLimits(LIMIT).check_declared(request)
    PayloadLimits(LIMIT, VolumeResults(tmp_path)).check_declared(request)
    PayloadLimits(None).check_declared(request)
    PayloadLimits(LIMIT).check_declared(FunctionRequest(function_name="f", expected_result_bytes=100))
    PayloadLimits(LIMIT).check_declared(FunctionRequest(function_name="f"))


TEXTS = st.text(max_size=40).flatmap(lambda text: st.integers(0, 2000).map(lambda times: text * times))


@given(st.booleans(), TEXTS, TEXTS, st.integers(5_000, 60_000))
async def test_every_answer_fits(is_success: bool, words: str, stdout: str, limit: int) -> None:
    response = (
        FunctionResponse(success=True, json_result=words, stdout=stdout)
        if is_success
        else FunctionResponse(success=False, error=words or "e", error_kind=FailureKind.USER_CODE, stdout=stdout)
    )
    fitted = await PayloadLimits(limit).fitted(response, "job")
    assert wire_bytes(fitted) <= limit
    assert fitted.success or fitted.error


@given(TEXTS, st.integers(600, 100_000))
def test_cut_text_fits_its_room(text: str, room: int) -> None:
    assert json_bytes(cut(text, room)) <= max(room, 600)
