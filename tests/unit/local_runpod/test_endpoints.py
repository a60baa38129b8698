"""Endpoints and templates as clients describe them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.local_runpod.endpoints import Endpoint, Json, Template, derived_id, is_own_id
from flashtrial.local_runpod.errors import BadRequest

pytestmark = pytest.mark.unit


@given(st.text())
def test_an_id_follows_from_the_name_and_is_known_as_ours(name: str) -> None:
    assert derived_id(name) == derived_id(name)
    assert is_own_id(derived_id(name))


@pytest.mark.parametrize("other", ["", "abc123", "ft", "../../etc", "FTABCDEFGHABCDEF", "ftabcdefghabcdef\n"])
def test_other_ids_are_not_ours(other: str) -> None:
    assert not is_own_id(other)


def test_what_a_client_does_not_say_has_the_platforms_default() -> None:
    endpoint = Endpoint("ft1", {})
    assert (endpoint.name, endpoint.workers_min, endpoint.workers_max) == ("ft1", 0, 1)
    assert (endpoint.idle_timeout_s, endpoint.execution_timeout_ms) == (60, None)


def test_an_update_keeps_what_it_does_not_mention() -> None:
    endpoint = Endpoint("ft1", {}).updated({"name": "n", "workersMax": 3}).updated({"idleTimeout": 5})
    assert (endpoint.name, endpoint.workers_max, endpoint.idle_timeout_s, endpoint.version) == ("n", 3, 5, 2)


def test_a_description_echoes_what_was_given() -> None:
    described = Endpoint("ft1", {}).updated({"name": "n", "gpuIds": "ANY", "scalerValue": 4}).described()
    assert (described["gpuIds"], described["scalerValue"], described["id"]) == ("ANY", 4, "ft1")
    assert described["templateId"] == "ft1-template"


@pytest.mark.parametrize(
    "given",
    [
        {"workersMax": "3"},
        {"workersMin": -1},
        {"idleTimeout": 1.5},
        {"executionTimeoutMs": True},
        {"executionTimeoutMs": 10**30},
        {"idleTimeout": 10**400},
        {"name": 7},
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_name(given: dict[str, Json]) -> None:
    with pytest.raises(BadRequest, match=next(iter(given))):
        Endpoint("ft1", {}).updated(given)


def test_a_templates_variables_are_read() -> None:
    template = Template("t", {}).updated({"env": [{"key": "A", "value": "1"}, {"key": "B", "value": ""}]})
    assert template.environment == {"A": "1", "B": ""}


@pytest.mark.parametrize(
    "env",
    [
        "A=1",
        [{"key": "A"}],
        [{"key": "A=B", "value": ""}],
        [{"key": "A", "value": "x\0y"}],
        [{"key": "A", "value": "\ud800"}],
        ["A"],
    ],
)
def test_variables_that_no_process_can_have_are_refused(env: Json) -> None:
    with pytest.raises(BadRequest, match="env"):
        Template("t", {}).updated({"env": env})
