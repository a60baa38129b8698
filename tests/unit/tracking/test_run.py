"""Runs as users call them; what was said is read back from the journal."""

import argparse
import operator
import pickle
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import flashtrial
from flashtrial.core.errors import ConfigurationError
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.runs.delivery import FinishReport
from flashtrial.tracking.runs.open_runs import NoActiveRun
from flashtrial.tracking.runs.run import Run, RunFinished
from testkit.journals import Init, bodies, records


def test_a_new_run_says_who_it_is_in_its_first_record(outbox: Path, init: Init) -> None:
    run = init(project="p", name="n", config={"lr": np.float32(0.5)}, tags="a")
    [record] = records(outbox)
    assert (record.seq, record.kind, record.run_id) == (1, "state", run.id)
    assert record.body.pop("host")  # type: ignore[attr-defined]
    assert record.body == {"status": "running", "project": "p", "name": "n", "config": {"lr": 0.5}, "tags": ["a"]}


def test_a_run_that_nobody_named_has_a_readable_name_and_the_default_project(init: Init) -> None:
    first, second = init(), init()
    assert first.project == "default"
    assert first.name.count("-") == 2
    assert first.name != second.name
    assert first.id != second.id


def test_steps_count_up_from_the_last(outbox: Path, init: Init) -> None:
    run = init()
    run.log({"x": 1.0})
    run.log({"x": 1.0}, step=10)
    run.log({"x": 1.0})
    run.log({"x": 1.0}, step=np.float64(2.0))  # type: ignore[arg-type]
    run.log({"x": 1.0}, step=np.int64(3))  # type: ignore[arg-type]
    run.log({"x": 1.0})
    assert [body["step"] for body in bodies(outbox, "metric")] == [0, 10, 11, 2, 3, 4]


def test_one_call_is_one_step_for_numbers_and_data(outbox: Path, init: Init) -> None:
    init().log({"loss": 1, "text": "hello", "n": {"a": 2.0}})
    assert bodies(outbox, "metric") == [{"step": 0, "values": {"loss": 1, "n/a": 2.0}}]
    assert bodies(outbox, "data") == [{"name": "text", "type": "string", "step": 0, "value": "hello"}]


def test_names_that_no_codec_knows_are_made_visible(outbox: Path, init: Init) -> None:
    run = init()
    run.log({"a\ud800": 1.0, 5: 2.0})  # type: ignore[dict-item]
    assert bodies(outbox, "metric") == [{"step": 0, "values": {"a\\ud800": 1.0, "5": 2.0}}]


def test_a_value_that_cannot_be_logged_takes_no_step(outbox: Path, init: Init) -> None:
    run = init()
    with pytest.raises(TypeError, match="'x'"):
        run.log({"x": None})
    with pytest.raises(TypeError, match=r"step is a whole number, not 0\.5"):
        run.log({"x": 1.0}, step=0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="log takes a dict of names and values, not a list"):
        run.log([1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="64 bits"):
        run.log({"x": 1.0}, step=2**63)
    run.log({"x": 1.0})
    assert [body["step"] for body in bodies(outbox, "metric")] == [0]


def test_tags_are_written_whole_and_without_repetition(outbox: Path, init: Init) -> None:
    run = init(tags=["a", "b", "a"])
    run.add_tags("c")
    run.add_tags(["a", "d"])
    run.remove_tags(["b", "z"])
    assert [body["tags"] for body in bodies(outbox, "tags")] == [["a", "b", "c"], ["a", "b", "c", "d"], ["a", "c", "d"]]
    assert run.tags == ["a", "c", "d"]


def test_a_process_that_attached_changes_no_tags_but_those_it_names(outbox: Path, init: Init) -> None:
    run = init(run_id="run_x")
    run.add_tags(["mine", "mine"])
    run.remove_tags("theirs")
    assert [(body.get("add"), body.get("remove")) for body in bodies(outbox, "tags")] == [
        (["mine"], None),
        (None, ["theirs"]),
    ]


def test_config_updates_are_records(outbox: Path, init: Init) -> None:
    init().update_config({"opt": {"lr": 1}})
    assert bodies(outbox, "config") == [{"set": {"opt": {"lr": 1}}}]


class ClassConfig:
    lr = 0.5
    _private = object()

    def method(self) -> None: ...


@dataclass
class DataclassConfig:
    lr: float = 0.5


@dataclass(slots=True)
class SlottedConfig:
    lr: float = 0.5


class TupleConfig(NamedTuple):
    lr: float = 0.5


@pytest.mark.parametrize(
    "config",
    [
        argparse.Namespace(lr=0.5),
        SimpleNamespace(lr=0.5),
        DataclassConfig(),
        SlottedConfig(),
        TupleConfig(),
        MappingProxyType({"lr": np.float64(0.5)}),
    ],
)
def test_an_object_with_attributes_is_a_config(outbox: Path, init: Init, config: Any) -> None:
    init(config=config).update_config(config)
    assert [body["config"] for body in bodies(outbox, "state")] == [{"lr": 0.5}]
    assert [body["set"] for body in bodies(outbox, "config")] == [{"lr": 0.5}]


@pytest.mark.parametrize("config", [5, "lr=0.5", [("lr", 0.5)], ClassConfig, DataclassConfig])
def test_what_is_no_config_is_refused_before_the_run_is_opened(outbox: Path, init: Init, config: Any) -> None:
    with pytest.raises(ConfigurationError, match="config is a dict"):
        init(config=config)
    assert records(outbox) == []
    run = init()
    with pytest.raises(ConfigurationError, match="config is a dict"):
        run.update_config(config)


def test_attaching_says_only_what_was_given(outbox: Path, init: Init) -> None:
    run = init(run_id="run_x", tags=["late"])
    assert run.id == "run_x"
    assert bodies(outbox, "state") == [{"status": "running", "tags": ["late"], "resumed": True}]


def test_a_run_id_that_resumes_nothing_names_a_new_run(outbox: Path, init: Init) -> None:
    run = init(run_id="run_x", resume=False)
    [body] = bodies(outbox, "state")
    assert (body["project"], body["name"]) == ("default", run.name)


def test_what_is_no_tags_and_no_settings_is_refused_in_words(init: Init) -> None:
    with pytest.raises(ConfigurationError, match="tags are a text or a list of texts, not 5"):
        init(tags=5)
    with pytest.raises(ConfigurationError, match="settings are a Settings or a dict, not 'offline'"):
        flashtrial.init(settings="offline")  # type: ignore[arg-type]


@pytest.mark.parametrize(("word", "goes_on"), [("allow", True), ("must", True), ("never", False)])
def test_the_words_of_other_clients_for_resuming_are_known(outbox: Path, init: Init, word: str, goes_on: bool) -> None:
    init(run_id="r", resume=word)
    [state] = bodies(outbox, "state")
    assert ("resumed" in state, "project" in state) == (goes_on, not goes_on)


def test_an_unknown_word_for_resuming_is_refused(init: Init) -> None:
    with pytest.raises(ConfigurationError, match="allow, auto, must, never, not 'bogus'"):
        init(run_id="r", resume="bogus")


def test_resuming_needs_to_know_what(init: Init) -> None:
    with pytest.raises(ConfigurationError, match="run_id"):
        init(resume=True)


@pytest.mark.parametrize("arguments", [{"name": "n" * 1025}, {"project": "p" * 1025}, {"run_id": ""}, {"tags": [""]}])
def test_names_that_the_server_would_refuse_are_refused_at_once(init: Init, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="1 to 1024"):
        init(**arguments)


@pytest.mark.parametrize(
    ("sent", "refused", "outage", "words"),
    [
        (0, 0, None, "20 records written; the worker's sync process delivers them"),
        (19, 0, None, "20 records written, 19 of them sent already; the worker's sync process delivers the rest"),
        (0, 0, "down", "20 records written; the worker's sync process delivers them once it can (now: down)"),
        (18, 2, None, "18 of 20 records sent; 2 were refused and set aside"),
        (20, 0, None, "20 of 20 records sent"),
    ],
)
def test_inside_a_worker_finish_says_who_delivers_what_is_left(
    sent: int, refused: int, outage: str | None, words: str
) -> None:
    report = FinishReport(
        run_id="r",
        url="http://u",
        status=RunStatus.FINISHED,
        written=20,
        sent=sent,
        refused=refused,
        pending=20 - sent - refused,
        lost=0,
        outage=outage,
        is_in_worker=True,
    )
    assert str(report) == f"run r finished: {words}; http://u"


def test_finish_says_where_the_records_are(outbox: Path, init: Init) -> None:
    run = init()
    run.log({"x": 1.0})
    report = run.finish()
    assert (report.status, report.written, report.sent, report.pending, report.lost) == (RunStatus.FINISHED, 3, 0, 3, 0)
    assert "3 records written; the worker's sync process delivers them" in str(report)
    assert run.finish() is report
    assert [body["status"] for body in bodies(outbox, "state")] == ["running", "finished"]


def test_a_finished_run_takes_nothing_more(init: Init) -> None:
    run = init()
    run.finish()
    with pytest.raises(RunFinished, match=run.id):
        run.log({"x": 1.0})


def test_a_run_ends_only_as_something_that_is_an_end(init: Init) -> None:
    with pytest.raises(ConfigurationError, match="finished, failed"):
        init().finish("running")


def test_a_block_that_raises_makes_the_run_fail_with_the_reason(outbox: Path, init: Init) -> None:
    with pytest.raises(ZeroDivisionError), init():
        operator.truediv(1, 0)
    last = bodies(outbox, "state")[-1]
    said, _, where = last["reason"].partition("\n")
    assert (last["status"], said) == ("failed", "ZeroDivisionError: division by zero")
    assert where.startswith("Traceback")
    assert "operator.truediv(1, 0)" in where


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SystemExit(0), "finished"),
        (SystemExit(), "finished"),
        (SystemExit(2), "failed"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_block_left_on_purpose_ends_the_run_as_it_was_meant(
    outbox: Path, init: Init, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), init():
        raise error
    assert bodies(outbox, "state")[-1]["status"] == status


def test_module_level_calls_act_on_the_newest_run(outbox: Path, init: Init) -> None:
    older, newer = init(), init()
    flashtrial.log({"x": 1.0})
    assert flashtrial.finish().run_id == newer.id
    flashtrial.log({"x": 2.0})
    last = flashtrial.finish()
    assert last.run_id == older.id
    assert flashtrial.finish() is last, "to finish once more does no harm"
    with pytest.raises(NoActiveRun, match=r"flashtrial\.init"):
        flashtrial.log({"x": 1.0})
    logged = {record.run_id: record.body["values"] for record in records(outbox) if record.kind == "metric"}
    assert logged == {newer.id: {"x": 1.0}, older.id: {"x": 2.0}}


def test_a_run_that_was_pickled_joins_and_does_not_end_it(outbox: Path, init: Init) -> None:
    run = init(settings={"token": "secret"})
    pickled = pickle.dumps(run)
    assert b"secret" not in pickled
    run.finish()
    joined: Run = pickle.loads(pickled)
    joined.log({"x": 1.0})
    assert joined.finish().status is RunStatus.RUNNING
    owners, joiners = ([r for r in records(outbox) if (r.body.get("name") is None) is new] for new in (False, True))
    state, metric = [record for record in joiners if record.writer_id != owners[0].writer_id]
    assert state.body == {"status": "running"}
    assert state.time_ms == owners[0].time_ms, "a late joiner must not open the run again"
    assert metric.body["values"] == {"x": 1.0}


def test_a_run_that_was_pickled_hides_what_it_hides_where_it_was_opened(outbox: Path, init: Init) -> None:
    run = init(config={"db": {"password": "open-sesame-please"}})
    pickled = pickle.dumps(run)
    assert b"sesame" not in pickled
    joined: Run = pickle.loads(pickled)
    joined.alert("no entry with open-sesame-please")
    joined.finish()
    assert [body["value"]["title"] for body in bodies(outbox, "data")] == ["no entry with ***"]


def test_the_page_of_a_run_is_at_the_server(init: Init) -> None:
    run = init(run_id="a/b", settings={"url": "http://server:1/"})
    assert run.url == "http://server:1/runs/a%2Fb"


def test_a_fork_counts_on_in_whole_steps(outbox: Path, init: Init) -> None:
    init(fork_run_id="parent", fork_step=np.float64(2.0)).log({"x": 1.0})
    [state], [metric] = bodies(outbox, "state"), bodies(outbox, "metric")
    assert (state["fork"]["step"], repr(metric["step"])) == (2, "3")
