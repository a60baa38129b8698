"""Our records in Pluto's words."""

import math

import pytest

from flashtrial.protocol.records import Record, RecordKind
from flashtrial.tracking.backends.pluto_lines import (
    NotForPluto,
    console_line,
    data_line,
    file_words,
    metric_line,
    system_name,
)

pytestmark = pytest.mark.unit


def record(kind: RecordKind, body: dict[str, object]) -> Record:
    return Record("run", "wr_abcdef", 7, kind, 1000, body)


def test_a_metric_without_a_step_stands_at_its_sequence_number() -> None:
    line = metric_line(record(RecordKind.METRIC, {"step": None, "values": {"loss": math.inf}}))
    assert line == {"time": 1000, "step": 7, "data": {"loss": math.inf}}


def test_steps_below_zero_are_refused_for_pluto_refuses_their_whole_request() -> None:
    with pytest.raises(NotForPluto, match="below 0"):
        metric_line(record(RecordKind.METRIC, {"step": -1, "values": {"loss": 1.0}}))
    with pytest.raises(NotForPluto, match="below 0"):
        data_line(record(RecordKind.DATA, {"name": "t", "type": "table", "step": -1, "value": {}}))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("sys/cpu.pct", "sys/cpu.percentage"),
        ("sys/net.recv", "sys/network.received"),
        ("sys/memory.used", "sys/memory.used"),
        ("gpu", "sys/gpu"),
    ],
)
def test_abbreviations_are_written_out_in_the_machines_figures_alone(ours: str, theirs: str) -> None:
    assert system_name(ours) == theirs
    assert metric_line(record(RecordKind.METRIC, {"step": 1, "values": {"net.pct": 1.0}}))["data"] == {"net.pct": 1.0}


def test_a_text_goes_as_it_is_and_a_table_as_json() -> None:
    text = data_line(record(RecordKind.DATA, {"name": "phase", "type": "string", "step": 2, "value": "warm"}))
    assert (text["dataType"], text["data"]) == ("string-series", "warm")
    table = data_line(record(RecordKind.DATA, {"name": "t", "type": "table", "step": 2, "value": {"a": 1}}))
    assert (table["dataType"], table["data"]) == ("TABLE", '{"a": 1}')


def test_line_numbers_begin_at_one() -> None:
    line = console_line(record(RecordKind.CONSOLE, {"stream": "stderr", "line": 0, "text": "x"}))
    assert (line["lineNumber"], line["logType"]) == (1, "ERROR")


def test_file_names_of_two_records_differ() -> None:
    body = {"name": "img", "step": 1, "file_name": "a.png", "size": 3, "type": "image"}
    assert file_words(record(RecordKind.FILE, body))["fileName"] == "a-abcdef-7.png"
