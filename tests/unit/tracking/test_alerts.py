"""Alerts: what they say, and how often."""

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flashtrial.core.errors import ConfigurationError
from flashtrial.tracking.runs.alerts import AlertGate, parse_alert
from flashtrial.tracking.runs.run import RunFinished
from testkit.journals import Init, bodies

pytestmark = pytest.mark.unit


def test_an_alert_is_a_record_and_a_line_of_the_log(outbox: Path, init: Init, caplog: pytest.LogCaptureFixture) -> None:
    run = init()
    run.log({"loss": 1.0})
    assert run.alert("loss is NaN", "at step 7", level="WARN", url="http://hook")
    [body] = bodies(outbox, "data")
    said = {"title": "loss is NaN", "text": "at step 7", "level": "WARN", "url": "http://hook"}
    assert body == {"name": "alert", "type": "alert", "step": None, "value": said}
    assert ("flashtrial.tracking.runs.run", logging.WARNING, "loss is NaN: at step 7") in caplog.record_tuples


def test_an_alert_takes_no_step(outbox: Path, init: Init) -> None:
    run = init()
    run.log({"x": 1.0})
    run.alert("hello")
    run.log({"x": 2.0})
    assert [body["step"] for body in bodies(outbox, "metric")] == [0, 1]


def test_other_names_of_its_arguments_are_taken(outbox: Path, init: Init) -> None:
    run = init()
    assert run.alert(message="first line\nsecond", level=logging.CRITICAL, wait_duration=timedelta(hours=1))
    assert not run.alert("first line", "again", wait=3600)
    [body] = bodies(outbox, "data")
    assert body["value"] == {"title": "first line", "text": "first line\nsecond", "level": "ERROR"}


def test_an_alert_of_the_same_title_waits_its_time() -> None:
    gate = AlertGate()
    alert = parse_alert("a", None, "INFO", 10)
    assert [gate.passes(alert, now) for now in (0, 5, 9.9, 10, 15)] == [True, False, False, True, False]
    assert gate.passes(parse_alert("b", None, "INFO", 10), 15)
    assert gate.passes(parse_alert("a", None, "INFO", 0), 15)


@pytest.mark.parametrize(
    "said", [{}, {"title": "a", "level": "LOUD"}, {"title": "a", "wait": -1}, {"title": "a", "wait": float("nan")}]
)
def test_what_is_no_alert_is_refused(init: Init, said: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        init().alert(**said)


def test_a_finished_run_alerts_nobody(init: Init) -> None:
    run = init()
    run.finish()
    with pytest.raises(RunFinished):
        run.alert("late")
