"""The examples of docs/reference-api.md, sent in their order to a server of their own."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from flashtrial.server.app import create_app
from flashtrial.server.settings import ServerSettings
from testkit.tracking_server import TrackingClient

pytestmark = pytest.mark.integration

PAGE = (Path(__file__).parents[3] / "docs" / "reference-api.md").read_text()
EXAMPLES = re.findall(r"```http\n(.*?)```\n```(json|events)\n(.*?)```", PAGE, re.DOTALL)


def _send(server: TrackingClient, text: str) -> Any:
    head, _, body = text.partition("\n\n")
    first, *lines = head.strip().splitlines()
    method, path = first.split(" ", 1)
    answer = server.request(method, path.replace(">", "%3E"), body.encode() or None, dict(x.split(": ") for x in lines))
    assert answer.status == 200, answer.body
    return answer.json()


def _holds(actual: Any, expected: Any) -> bool:
    """Whether all that is expected is there; more may be."""
    match expected:
        case dict():
            return all(name in actual and _holds(actual[name], value) for name, value in expected.items())
        case list():
            return len(actual) == len(expected) and all(map(_holds, actual, expected))
    return bool(actual == expected)


def test_every_example_is_answered_as_the_page_says(server: TrackingClient) -> None:
    assert len(EXAMPLES) > 6
    for asked, kind, expected in EXAMPLES:
        if kind == "json":
            answer = _send(server, asked)
            assert _holds(answer, orjson.loads(expected)), (asked, answer)
        else:
            _hears(server, asked.split()[1], expected.split("\n")[:-1])


def _hears(server: TrackingClient, path: str, events: list[str]) -> None:
    with server.events(path) as blocks:
        for event in events:
            while not (block := next(blocks).decode()).startswith("event"):
                pass
            assert block.startswith(event), block


def test_every_route_that_the_page_names_is_described(tmp_path: Path) -> None:
    described = create_app(ServerSettings(tmp_path)).openapi()["paths"]
    for path, parameters in (
        ("/api/v1/runs", {"limit", "cursor", "project", "status", "tag", "filter", "search", "sort", "fields"}),
        ("/api/v1/runs/{run_id}/metrics", {"name", "start", "end", "points", "attempts", "run_id"}),
        ("/api/v1/runs/{run_id}/console", {"after", "before", "limit", "stream", "search", "run_id"}),
        ("/api/v1/runs/{run_id}/events", {"name", "console_after", "last-event-id", "run_id"}),
    ):
        assert {each["name"] for each in described[path]["get"]["parameters"]} == parameters
        assert described[path]["get"]["summary"]
    assert {"/api/v1/ingest", "/api/v1/events", "/api/v1/projects", "/api/v1/tags"} <= set(described)
