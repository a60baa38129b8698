"""As much of GraphQL as RunPod's clients send."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.local_runpod.errors import BadRequest
from flashtrial.local_runpod.graphql import Field, parse, shaped

pytestmark = pytest.mark.unit


def test_the_sdks_mutation_is_read() -> None:
    document = """
        mutation saveEndpoint($input: EndpointInput!, $n: [Int!] = [1]) {  # as runpod-flash sends it
            saveEndpoint(input: $input) { id networkVolumeIds { networkVolumeId } }
        }
    """
    volumes = Field("networkVolumeIds", "networkVolumeIds", {}, (Field("networkVolumeId", "networkVolumeId", {}, ()),))
    assert parse(document, {"input": {"name": "x"}}) == (
        Field("saveEndpoint", "saveEndpoint", {"input": {"name": "x"}}, (Field("id", "id", {}, ()), volumes)),
    )


def test_values_written_into_the_document_are_read() -> None:
    (field,) = parse(
        '{ mine: f(a: "x\\n\\u20ac", b: -1.5e3, c: [true, null, RED], d: {e: $v, g: 7}) { id } }', {"v": "var"}
    )
    assert (field.alias, field.name) == ("mine", "f")
    assert field.arguments == {"a": "x\n€", "b": -1500.0, "c": [True, None, "RED"], "d": {"e": "var", "g": 7}}


def test_a_variable_that_was_not_given_is_null() -> None:
    assert parse("{ f(a: $missing) }", {})[0].arguments == {"a": None}


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "{ f(",
        "{ f(a: ) }",
        "{ f } fragment x on Y { z }",
        "{ ...x }",
        "{ f(a: 1e) }",
        "{ f(a: 1e999) }",
        "query {",
        "mutation",
        "{ f(a: \0) }",
        "{ f @skip(if: true) }",
        "{ a " * 1000 + "}" * 1000,
        "{ f(a: " + "[" * 1000 + "]" * 1000 + ") }",
    ],
)
def test_what_is_no_simple_operation_is_refused(document: str) -> None:
    with pytest.raises(BadRequest):
        parse(document, {})


@given(st.text(alphabet='{}()[]$:"\\, \nabc01.-!|@#e', max_size=60))
def test_any_text_is_read_or_refused(document: str) -> None:
    with contextlib.suppress(BadRequest):
        assert all(isinstance(field, Field) for field in parse(document, {}))


def test_an_answer_has_the_selected_fields_only_and_null_for_those_it_lacks() -> None:
    (root,) = parse("{ root { id other: name list { x } gone { y } } }", {})
    value: Any = {"id": 1, "name": "n", "list": [{"x": 1, "z": 2}, {}], "secret": 0}
    assert shaped(value, root.selections) == {"id": 1, "other": "n", "list": [{"x": 1}, {"x": None}], "gone": None}
