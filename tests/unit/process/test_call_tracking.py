"""What the end of a call knows of the runs that the call touched."""

from dataclasses import dataclass, field

import pytest

from flashtrial.process.call_tracking import CallTracking
from flashtrial.protocol.child import RunDefaults, RunNote

pytestmark = pytest.mark.unit


@dataclass(eq=False)
class FakeRun:
    """A run that notes how it was ended."""

    run_id: str = "r"
    secrets: tuple[str, ...] = ()
    last: dict[str, float | str] = field(default_factory=dict)
    unsent: int = 0
    ends: list[BaseException | None] = field(default_factory=list)

    def note(self) -> RunNote:
        return RunNote(self.run_id, f"http://here/runs/{self.run_id}", self.last, self.unsent)

    def end_with_call(self, error: BaseException | None) -> None:
        self.ends.append(error)


class BrokenRun(FakeRun):
    def note(self) -> RunNote:
        raise OSError("no disk")

    def end_with_call(self, error: BaseException | None) -> None:
        raise OSError("no disk") from error


def test_a_call_that_touches_no_run_tells_of_none() -> None:
    calls = CallTracking()
    calls.begin(None)
    assert calls.end(None, ends_runs=True) == ()


def test_defaults_hold_for_their_call_only() -> None:
    calls = CallTracking()
    calls.begin(RunDefaults(run_id="mine"))
    assert calls.defaults is not None
    calls.end(None, ends_runs=False)
    assert calls.defaults is None


def test_the_newest_run_comes_first_and_the_next_call_starts_with_none() -> None:
    calls = CallTracking()
    for name in ("one", "two"):
        calls.touched(FakeRun(name))
    assert [note.run_id for note in calls.end(None, ends_runs=False)] == ["two", "one"]
    assert calls.end(None, ends_runs=False) == ()


def test_two_writers_of_one_run_are_one_note() -> None:
    calls = CallTracking()
    calls.touched(FakeRun("r", last={"loss": 2.0, "old": 1.0}, unsent=3))
    calls.touched(FakeRun("r", last={"loss": 1.0}, unsent=4))
    assert calls.end(None, ends_runs=False) == (RunNote("r", "http://here/runs/r", {"loss": 1.0, "old": 1.0}, 7),)


def test_each_run_is_told_of_once_in_each_call_and_not_after_it() -> None:
    calls, run, told = CallTracking(), FakeRun("mine"), list[str]()
    for _ in range(2):
        calls.begin(None, told.append)
        calls.touched(run)
        calls.touched(run)
        calls.end(None, ends_runs=False)
        calls.touched(FakeRun("late"))
        calls.end(None, ends_runs=False)
    assert told == ["mine", "mine"]


def test_secrets_of_a_run_are_told_before_the_run_in_each_call_and_not_between_calls() -> None:
    calls, run, told = CallTracking(), FakeRun("mine", ("hidden",)), list[object]()
    for _ in range(2):
        calls.begin(None, told.append, told.append)
        calls.touched(run)
        calls.learned(("later",))
        calls.learned(())
        calls.end(None, ends_runs=False)
        calls.learned(("late",))
    assert told == [("hidden",), "mine", ("later",)] * 2


def test_runs_end_with_a_function_and_outlive_a_method() -> None:
    calls, run, error = CallTracking(), FakeRun(), ValueError("no")
    calls.touched(run)
    calls.end(None, ends_runs=False)
    assert run.ends == []
    calls.touched(run)
    calls.end(error, ends_runs=True)
    assert run.ends == [error]


def test_a_run_that_cannot_be_looked_after_takes_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    calls, fine = CallTracking(), FakeRun("fine")
    calls.touched(BrokenRun("broken"))
    calls.touched(fine)
    calls.touched(BrokenRun("broken too"))
    assert [note.run_id for note in calls.end(None, ends_runs=True)] == ["fine"]
    assert fine.ends == [None]
    assert "could not be looked after" in caplog.text
