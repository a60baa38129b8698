"""Our model of the SDK's messages is the SDK's own, and each reads what the other writes."""

from typing import Any

import pytest
from pydantic_core import PydanticUndefined
from runpod_flash.protos import remote_execution as sdk

from flashtrial.protocol.execution import FailureKind, FunctionRequest, FunctionResponse, InstanceInfo


def default(field: Any) -> Any:
    """What a field is when it is left out; `...` when it must not be."""
    if field.default_factory is not None:
        return field.default_factory()
    return ... if field.default is PydanticUndefined else field.default


def test_every_field_of_the_sdks_request_is_ours_with_the_same_default() -> None:
    ours, theirs = FunctionRequest.model_fields, sdk.FunctionRequest.model_fields
    assert {name: default(ours[name]) for name in theirs} == {name: default(field) for name, field in theirs.items()}


def test_every_field_of_the_sdks_response_is_ours() -> None:
    assert sdk.FunctionResponse.model_fields.keys() <= FunctionResponse.model_fields.keys()


@pytest.mark.parametrize(
    "request_",
    [
        sdk.FunctionRequest(function_name="f", function_code="def f(): ...", args=["AA=="], kwargs={"k": "AA=="}),
        sdk.FunctionRequest(
            execution_type="class",
            class_name="C",
            class_code="class C: ...",
            constructor_args=["AA=="],
            method_name="m",
            instance_id="C_1",
            create_new_instance=False,
            dependencies=["six"],
            system_dependencies=["curl"],
            modules={"a.py": ""},
            serialization_format="json",
            accelerate_downloads=False,
        ),
    ],
)
def test_what_the_sdk_sends_is_read_field_by_field(request_: sdk.FunctionRequest) -> None:
    sent = request_.model_dump(exclude_none=True)
    read = FunctionRequest.model_validate(sent).model_dump(mode="json")
    assert {name: read[name] for name in sent} == sent


@pytest.mark.parametrize(
    "response",
    [
        FunctionResponse(success=True, result="gAVLKi4=", stdout="out\n"),
        FunctionResponse(success=True, json_result=None, stdout=""),
        FunctionResponse(success=False, error="no", error_kind=FailureKind.USER_CODE, stdout="so far"),
        FunctionResponse(
            success=True,
            json_result=[1],
            instance_id="C_1",
            instance_info=InstanceInfo(class_name="C", created_at="t", last_used="t", method_calls=1),
        ),
    ],
)
def test_what_we_answer_is_read_by_the_sdk(response: FunctionResponse) -> None:
    wire = response.to_wire()
    read = sdk.FunctionResponse(**wire)
    assert (read.success, read.result, read.json_result) == (response.success, response.result, response.json_result)
    assert (read.error, read.stdout, read.instance_id) == (response.error, response.stdout, response.instance_id)


def test_success_and_error_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="exactly when"):
        FunctionResponse(success=True, error="no")
    with pytest.raises(ValueError, match="exactly when"):
        FunctionResponse(success=False)
