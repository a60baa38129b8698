"""What runs beside a run, and values that make their own records."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flashtrial.protocol.records import JsonValue, RecordKind
from flashtrial.tracking.capture.run_parts import PartHost, RunParts
from flashtrial.tracking.journal.outbox import OutboxUnwritable
from testkit.journals import Init, bodies, records

pytestmark = pytest.mark.unit


class Farewell:
    """A part that writes a line when it starts and one when it closes."""

    def __init__(self) -> None:
        self._run: PartHost | None = None

    def start(self, run: PartHost) -> None:
        self._run = run
        self._say("hello")

    def close(self, deadline_s: float) -> None:  # noqa: ARG002 - a short goodbye
        self._say("goodbye")

    def renew_after_fork(self) -> None:
        self._run = None

    def _say(self, text: str) -> None:
        if self._run is not None:
            self._run.append(RecordKind.CONSOLE, {"stream": "stdout", "line": 1, "text": text})


class Broken(Farewell):
    """One that neither starts nor closes as it should."""

    def start(self, run: PartHost) -> None:  # noqa: ARG002 - it has no use for one
        raise OSError("no such sensor")


class Hanging(Farewell):
    """One whose close waits for a lock that an interrupted frame of the same thread would hold."""

    def __init__(self, released: threading.Event) -> None:
        super().__init__()
        self._released = released

    def close(self, deadline_s: float) -> None:  # noqa: ARG002 - which is what is wrong with it
        self._released.wait()


class Shot:
    """A value with a record of its own."""

    def __init__(self, content: str, error: Exception | None = None) -> None:
        self._content = content
        self._error = error

    def stage_record(self, outbox: Path) -> tuple[RecordKind, Mapping[str, JsonValue]]:
        if self._error is not None:
            raise self._error
        return RecordKind.FILE, {"content": self._content, "outbox": str(outbox)}


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_what_a_part_writes_at_its_end_comes_before_the_end_of_the_run(outbox: Path, init: Init) -> None:
    run = init()
    run.start_parts([Farewell()])
    run.log({"loss": 1.0})
    run.finish()
    kinds = [(record.kind.value, record.body.get("text")) for record in records(outbox)][1:]
    assert kinds == [("console", "hello"), ("metric", None), ("console", "goodbye"), ("state", None)]


def test_a_part_that_cannot_start_costs_itself_only(outbox: Path, init: Init, caplog: pytest.LogCaptureFixture) -> None:
    run = init()
    run.start_parts([Broken(), Farewell()])
    run.finish()
    assert [body["text"] for body in bodies(outbox, "console")] == ["hello", "goodbye"]
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == ["Broken could not start"]


def test_a_part_that_does_not_close_is_left_behind(outbox: Path, init: Init, released: threading.Event) -> None:
    run = init()
    parts = RunParts([Hanging(released), Farewell()])
    parts.start(run)
    parts.close(deadline_s=0.01)
    assert parts.failed == 1
    run.finish()


def test_values_with_records_of_their_own_get_name_and_step(outbox: Path, init: Init) -> None:
    run = init()
    run.log({"loss": 1.0, "shot": Shot("a")}, step=7)
    run.log({"deep": {"shots": [Shot("b"), Shot("c")]}})
    said = [{key: body[key] for key in body if key != "outbox"} for body in bodies(outbox, "file")]
    assert said == [
        {"content": "a", "name": "shot", "step": 7},
        {"content": "b", "name": "deep/shots", "step": 8, "index": 0},
        {"content": "c", "name": "deep/shots", "step": 8, "index": 1},
    ]
    assert {body["outbox"] for body in bodies(outbox, "file")} == {str(outbox)}


def test_a_value_that_the_disk_does_not_take_costs_itself_only(outbox: Path, init: Init) -> None:
    run = init()
    run.log({"loss": 1.0, "shot": Shot("a", OutboxUnwritable("no space")), "note": "text"})
    assert bodies(outbox, "file") == []
    assert [body["value"] for body in bodies(outbox, "data")] == ["text"]
    assert run.finish().lost == 1


@pytest.mark.parametrize("value", [[Shot("a"), 1.0], [1.0, Shot("a")], [{"x": Shot("a")}]])
def test_a_list_that_mixes_them_with_others_is_refused_by_name(init: Init, value: Any) -> None:
    with pytest.raises(TypeError, match=r"'mixed.*' has a Shot among other values"):
        init().log({"mixed": value})
