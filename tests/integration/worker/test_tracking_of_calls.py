"""A call's answer tells of the runs that it touched, and a call may say which run its `init()` goes on with."""

from pathlib import Path
from typing import Any

import pytest

from flashtrial.protocol.records import Record, decode_record, read_frames, read_header
from flashtrial.worker.entrypoint import Worker
from testkit.jobs import function_job, method_job

pytestmark = pytest.mark.integration

TRAIN = """
def f(steps=3):
    import flashtrial
    run = flashtrial.init()
    for step in range(steps):
        flashtrial.log({"loss": 1.0 / (step + 1), "bad": float("nan")})
    return run.id
"""

TRAINER = """
import flashtrial
class Trainer:
    def __init__(self):
        self.run = flashtrial.init(name="mine", settings={"system_monitor": False, "facts": False})
    def step(self, loss):
        self.run.log({"loss": loss})
    def rest(self):
        return flashtrial.tracking.runs.run.open_runs.newest().id
    def other(self):
        with flashtrial.init() as second:
            second.log({"accuracy": 0.5})
        return [self.run.id, second.id]
"""


WATCHED = """
import flashtrial, time
def f():
    run = flashtrial.init(settings={"system_monitor": True})
    deadline = time.monotonic() + 20
    while not any(b"system" in path.read_bytes() for path in run.settings.outbox.glob("*.journal")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return run.id
"""


@pytest.fixture
def outbox(flashtrial_home: Path) -> Path:
    return flashtrial_home / "outbox"


def records(outbox: Path, run_id: str) -> list[Record]:
    """All records of a run that lie in `outbox`, writer by writer."""
    found = []
    for path in sorted(outbox.glob("*.journal")):
        data = path.read_bytes()
        header, start = read_header(data)
        if header.run_id == run_id:
            found += [decode_record(run_id, header.writer_id, frame) for frame, _ in read_frames(data, start)]
    return found


def states(outbox: Path, run_id: str) -> list[dict[str, Any]]:
    return [dict(one.body) for one in records(outbox, run_id) if one.kind == "state"]


async def test_the_answer_has_the_run_its_address_its_last_values_and_what_is_unsent(
    worker: Worker, outbox: Path
) -> None:
    answer = await worker.handle(function_job(TRAIN))
    tracking = answer["tracking"]
    assert tracking["run_id"] == answer["json_result"]
    assert tracking["url"].endswith(f"/runs/{tracking['run_id']}")
    assert tracking["last"] == {"loss": pytest.approx(1 / 3), "bad": "NaN"}
    written = records(outbox, tracking["run_id"])
    assert tracking["unsent"] == len(written) >= 5  # opened, three steps, ended; and what is captured beside


async def test_a_call_that_tracks_nothing_tells_of_no_run(forking_worker: Worker) -> None:
    assert "tracking" not in await forking_worker.handle(function_job("def f():\n    return 1\n"))


async def test_a_run_ends_with_the_function_that_opened_it_as_the_function_ends(
    forking_worker: Worker, outbox: Path
) -> None:
    fine = await forking_worker.handle(function_job(TRAIN))
    assert states(outbox, fine["json_result"])[-1]["status"] == "finished"
    raising = TRAIN.replace("    return run.id", "    raise ValueError('diverged')")
    failed = await forking_worker.handle(function_job(raising))
    assert failed["error_kind"] == "user_code"
    assert failed["tracking"]["last"]["loss"] == pytest.approx(1 / 3)
    end = states(outbox, failed["tracking"]["run_id"])[-1]
    assert end["status"] == "failed"
    assert end["reason"].startswith("ValueError: diverged")


async def test_a_later_function_does_not_log_into_the_run_of_an_earlier_one(forking_worker: Worker) -> None:
    await forking_worker.handle(function_job(TRAIN))
    answer = await forking_worker.handle(
        function_job("def f():\n    import flashtrial\n    flashtrial.log({'loss': 1})\n")
    )
    assert "no run is open" in answer["error"]


async def test_init_without_arguments_goes_on_with_the_run_that_the_call_names_as_its_guest(
    worker: Worker, outbox: Path
) -> None:
    tracking = {"run_id": "trial-7", "project": "digits", "name": "wide", "tags": ["a"]}
    answer = await worker.handle(function_job(TRAIN, tracking=tracking))
    assert answer["json_result"] == answer["tracking"]["run_id"] == "trial-7"
    opened, ended = states(outbox, "trial-7")
    assert opened == {"status": "running", "project": "digits", "name": "wide", "guest": True}
    assert ended == {"status": "finished", "guest": True}
    tags = [one.body for one in records(outbox, "trial-7") if one.kind == "tags"]
    assert [body["add"] for body in tags] == [["a"]]
    later = await worker.handle(function_job(TRAIN))
    assert later["json_result"] != "trial-7"


async def test_a_guest_that_raises_leaves_the_judgement_to_its_caller(forking_worker: Worker, outbox: Path) -> None:
    raising = TRAIN.replace("    return run.id", "    raise ValueError('diverged')")
    await forking_worker.handle(function_job(raising, tracking={"run_id": "trial-8"}))
    assert [state["status"] for state in states(outbox, "trial-8")] == ["running", "finished"]


@pytest.mark.parametrize(
    ("arguments", "project", "name"),
    [("", "digits", "wide"), ("project='own'", "own", "wide"), ("name='own'", "digits", "own")],
)
async def test_a_call_that_names_no_run_names_its_project_name_and_tags(
    forking_worker: Worker, outbox: Path, arguments: str, project: str, name: str
) -> None:
    source = TRAIN.replace("init()", f"init({arguments})")
    tracking = {"project": "digits", "name": "wide", "tags": ["a", "b"]}
    answer = await forking_worker.handle(function_job(source, tracking=tracking))
    opened = states(outbox, answer["json_result"])[0]
    assert (opened["project"], opened["name"], opened["tags"]) == (project, name, ["a", "b"])
    assert "guest" not in opened


@pytest.mark.parametrize("arguments", ["run_id='own'", "resume=False"])
async def test_who_says_which_run_it_is_gets_that_one(forking_worker: Worker, outbox: Path, arguments: str) -> None:
    source = TRAIN.replace("init()", f"init({arguments})")
    answer = await forking_worker.handle(function_job(source, tracking={"run_id": "trial-9", "name": "wide"}))
    assert answer["json_result"] != "trial-9"
    assert (answer["json_result"] == "own") is ("own" in arguments)
    assert "guest" not in states(outbox, answer["json_result"])[0]


async def test_an_instance_keeps_its_run_open_between_calls(worker: Worker, outbox: Path) -> None:
    async def call(method: str, *args: Any, **more: Any) -> dict[str, Any]:
        return await worker.handle(method_job(TRAINER, "Trainer", "t", method, *args, **more))

    first = await call("step", 0.5, tracking={"run_id": "trial-1"})
    assert first["tracking"]["run_id"] == "trial-1"
    second = await call("step", 0.25)
    assert second["tracking"]["last"] == {"loss": 0.25}
    assert second["tracking"]["unsent"] == first["tracking"]["unsent"] + 1
    assert "tracking" not in await call("rest")
    assert [state["status"] for state in states(outbox, "trial-1")] == ["running"]
    both = await call("other")
    assert both["tracking"]["run_id"] == both["json_result"][1] != "trial-1"
    assert "others" not in both["tracking"]


async def test_a_call_over_its_time_tells_of_its_run_if_it_stopped_when_asked(forking_worker: Worker) -> None:
    source = TRAIN.replace("    return run.id", "    while True:\n        pass")
    answer = await forking_worker.handle(function_job(source, timeout_s=1.5, tracking={"run_id": "trial-2"}))
    assert answer["error_kind"] == "timeout"
    assert answer["tracking"]["run_id"] == "trial-2"


@pytest.mark.parametrize(
    ("tracking", "prefix"), [(None, "sys/cpu."), ({"run_id": "trial-5"}, "sys/worker.cpu.")], ids=["own", "caller's"]
)
async def test_figures_of_the_worker_reach_the_run_under_names_that_tell_it_from_the_callers_machine(
    forking_worker: Worker, outbox: Path, tracking: dict[str, Any] | None, prefix: str
) -> None:
    answer = await forking_worker.handle(function_job(WATCHED, tracking=tracking))
    figures = [one.body["values"] for one in records(outbox, answer["json_result"]) if one.kind == "system"]
    assert figures
    assert any(name.startswith(prefix) for name in figures[0])
    assert all(name.startswith(prefix.removesuffix("cpu.")) for values in figures for name in values)
