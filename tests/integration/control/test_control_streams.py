"""Server-sent events: to a controller what waits, to dashboards every move of a command."""

import contextlib
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import urllib3

from testkit.control import Experiment

pytestmark = pytest.mark.integration


@contextlib.contextmanager
def _stream(experiment: Experiment, path: str) -> Iterator[Iterator[tuple[str, Any]]]:
    """The events of a stream below the experiment, by name and data."""
    pool = urllib3.HTTPConnectionPool("127.0.0.1", experiment.server.port, timeout=20)
    answer = pool.request("GET", f"/api/v1/experiments/{experiment.number}/{path}", preload_content=False)
    try:
        assert answer.status == 200
        yield _events(answer)
    finally:
        answer.close()
        pool.close()


def _events(answer: urllib3.BaseHTTPResponse) -> Iterator[tuple[str, Any]]:
    pending = b""
    while chunk := answer.read1():
        *whole, pending = (pending + chunk).split(b"\n\n")
        for block in whole:
            if block.startswith(b"event: "):
                name, _, data = block.partition(b"\ndata: ")
                yield name.removeprefix(b"event: ").decode(), orjson.loads(data)


def test_a_controller_hears_of_each_command_once_and_of_its_successor(experiment: Experiment) -> None:
    waiting = experiment.ask(1, "stop").json()
    with _stream(experiment, f"inbox/events?epoch={experiment.epoch}") as events:
        assert next(events) == ("command", waiting)
        later = experiment.ask(1, "delete").json()
        assert next(events) == ("command", later)
        experiment.take_over("c2")
        name, data = next(events)
        assert (name, data["error"]) == ("denied", "superseded")
        assert list(events) == []


def test_two_dashboards_see_each_command_and_what_came_of_it(experiment: Experiment) -> None:
    with _stream(experiment, "events") as one, _stream(experiment, "events") as another:
        command = experiment.ask(1, "stop").json()
        assert [next(one)[1], next(another)[1]] == [command, command]
        experiment.receipt(command["id"])
        for events in (one, another):
            name, told = next(events)
            assert (name, told["id"], told["state"]) == ("command", command["id"], "done")


def test_a_dashboard_that_comes_late_is_told_what_was_there(experiment: Experiment) -> None:
    asked = [experiment.ask(1, "stop").json()["id"] for _ in range(2)]
    with _stream(experiment, "events") as events:
        assert [next(events)[1]["id"] for _ in asked] == asked


def test_an_older_controller_gets_no_stream(experiment: Experiment) -> None:
    experiment.take_over("c2")
    answer = experiment.server.get(f"/api/v1/experiments/{experiment.number}/inbox/events?epoch=1")
    assert (answer.status, answer.json()["error"]) == (409, "superseded")
