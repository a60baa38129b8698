"""Bodies of ingest requests: what is good in them is found, what is bad is named, and nothing makes the parser fall."""

import json
import math
from typing import Any

import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.protocol.records import Batch, encode_batches, encode_record, frame
from flashtrial.server.ingest_body import BadBody, ParsedBatch, parse_json, parse_msgpack
from flashtrial.server.records import ChangeRecord, ConsoleRecord, DocumentRecord, FileRecord, PointsRecord

GOOD = {"step": 3, "values": {"loss": 0.5}}


def _one(*frames: bytes) -> ParsedBatch:
    (parsed,) = parse_msgpack(encode_batches([Batch("r", "w", b"".join(frames))])).batches
    return parsed


def _line(seq: object = 1, kind: object = "metric", body: object = GOOD, **other: object) -> str:
    fields = {"run_id": "r", "writer_id": "w", "seq": seq, "kind": kind, "time_ms": 7, "body": body}
    return json.dumps(fields | other)


def _only(line: str) -> PointsRecord:
    ((batch,), ()) = (parse_json(line.encode()).batches, parse_json(line.encode()).refused_lines)
    (record,) = batch.records
    assert isinstance(record, PointsRecord)
    return record


def _values(record: PointsRecord) -> dict[str, float]:
    return dict(zip(record.names, record.values, strict=True))


def test_each_kind_becomes_what_the_tables_hold() -> None:
    bodies: dict[str, dict[str, Any]] = {
        "metric": GOOD,
        "system": {"values": {"sys/cpu": 1}},
        "console": {"stream": "stderr", "line": 4, "text": "snow ☃"},
        "config": {"set": {"lr": 0.1}},
        "tags": {"tags": ["a", "a", "b"]},
        "data": {"name": "t", "type": "table", "step": None, "value": [1]},
        "file": {
            "name": "f",
            "type": "image",
            "sha256": "0" * 64,
            "size": 1,
            "mime": "image/png",
            "file_name": "f.png",
        },
        "state": {"status": "running", "project": "p", "config": {"nan": math.nan}},
    }
    parsed = _one(*(encode_record(seq, kind, 5, body) for seq, (kind, body) in enumerate(bodies.items(), 1)))
    assert (parsed.refused, parsed.error) == ((), None)
    kinds = [PointsRecord, PointsRecord, ConsoleRecord, ChangeRecord, ChangeRecord, DocumentRecord, FileRecord]
    assert [type(record) for record in parsed.records] == [*kinds, ChangeRecord]
    assert isinstance(parsed.records[7], ChangeRecord)
    assert json.loads(parsed.records[7].body)["config"] == {"nan": "NaN"}


def test_a_record_without_a_step_stands_at_its_sequence_number() -> None:
    (record,) = _one(encode_record(9, "metric", 5, {"step": None, "values": {"a": 1}})).records
    assert isinstance(record, PointsRecord)
    assert record.step == 9


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("metric", {"step": "3", "values": {"a": 1}}, "step is not an integer"),
        ("metric", {"step": True, "values": {"a": 1}}, "step is not an integer"),
        ("metric", {"step": 2**63, "values": {"a": 1}}, "step is not between"),
        ("metric", {"step": 1}, "values is not a map"),
        ("metric", {"values": {"a": "high"}}, "not a number"),
        ("metric", {"values": {"a": None}}, "not a number"),
        ("metric", {"values": {"": 1}}, "name"),
        ("metric", {"values": {"x" * 2000: 1}}, "name"),
        ("metric", [1, 2], "body is not a map"),
        ("console", {"stream": "stdin", "line": 1, "text": "x"}, "console"),
        ("config", {"set": [1]}, "set is not a map"),
        ("tags", {"tags": "a"}, "tags is not a list"),
        ("file", {"name": "f", "type": "image", "sha256": "../../etc", "size": 1}, "sha256 is not 64"),
        ("file", {"name": "f", "type": "image", "sha256": "0" * 64, "size": -1}, "size is not between"),
        ("file", {"name": "f", "type": "image", "sha256": "0" * 64, "size": 1, "meta": [1]}, "meta is not a map"),
        ("tags", {"add": "a"}, "add is not a list"),
        ("tags", {"remove": [""]}, "a tag is not a text"),
        ("tags", {}, "tags is not a list"),
        ("state", {"status": "sleeping"}, "status"),
        ("state", {"status": ["running"]}, "status"),
        ("state", {"status": "running", "name": 7}, "name"),
        ("state", {"status": "running", "guest": "yes"}, "guest is not true or false"),
        ("data", {"value": 1}, "name"),
        ("config", {"set": {"a": b"\x00"}}, "bytes"),
        ("opinion", {}, "unknown kind"),
    ],
)
def test_one_bad_record_is_refused_with_its_reason_and_its_neighbours_are_not(
    kind: str, body: object, reason: str
) -> None:
    bad = frame(ormsgpack.packb([2, kind, 5, body]))
    parsed = _one(encode_record(1, "metric", 5, GOOD), bad, encode_record(3, "metric", 5, GOOD))
    assert [record.seq for record in parsed.records] == [1, 3]
    assert [refusal.seq for refusal in parsed.refused] == [2]
    assert reason in parsed.refused[0].reason


@pytest.mark.parametrize("seq", [1, 127, 128, 255, 256, 65_536, 2**40])
def test_a_record_that_is_not_whole_msgpack_is_refused_by_its_number(seq: int) -> None:
    broken = frame(ormsgpack.packb([seq, "metric", 5, GOOD])[:-3])
    after = encode_record(seq + 1, "metric", 5, GOOD)
    parsed = _one(broken, after)
    assert [refusal.seq for refusal in parsed.refused] == [seq]
    assert [record.seq for record in parsed.records] == [seq + 1]


def test_a_map_with_keys_that_are_no_text_is_refused() -> None:
    bad = frame(ormsgpack.packb([1, "config", 5, {"set": {1: 2}}], option=ormsgpack.OPT_NON_STR_KEYS))
    assert [refusal.seq for refusal in _one(bad).refused] == [1]


def test_nothing_after_a_damaged_frame_is_taken() -> None:
    good, damaged = encode_record(1, "metric", 5, GOOD), bytearray(encode_record(2, "metric", 5, GOOD))
    damaged[-1] ^= 1
    parsed = _one(good, bytes(damaged), encode_record(3, "metric", 5, GOOD))
    assert [record.seq for record in parsed.records] == [1]
    assert parsed.error is not None
    assert "checksum" in parsed.error


def test_a_batch_that_ends_inside_a_frame_says_so() -> None:
    good = encode_record(1, "metric", 5, GOOD)
    parsed = _one(good, good[:-2])
    assert [record.seq for record in parsed.records] == [1]
    assert parsed.error is not None
    assert "ends inside" in parsed.error


def test_a_batch_of_a_run_without_an_id_is_an_error_of_that_batch() -> None:
    good = encode_record(1, "metric", 5, GOOD)
    bad, other = parse_msgpack(encode_batches([Batch("", "w", good), Batch("r", "w", good)])).batches
    assert (bad.error is None, len(bad.records)) == (False, 0)
    assert (other.error, len(other.records)) == (None, 1)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"hello", ormsgpack.packb({"a": 1}), ormsgpack.packb([1])])
def test_what_is_no_list_of_batches_is_a_bad_body(body: bytes) -> None:
    with pytest.raises(BadBody):
        parse_msgpack(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    for parse, body in ((parse_msgpack, data), (parse_json, data), (parse_json, b"[" + data + b"]")):
        try:
            parsed = parse(body)
        except BadBody:
            continue
        assert all(not batch.records for batch in parsed.batches)
    frames = _one(data)
    assert frames.records == ()


def test_bare_nan_and_infinity_are_numbers() -> None:
    line = _line().replace("0.5", "NaN").replace('"loss"', '"a": Infinity, "b": -Infinity, "loss"')
    values = _values(_only(line))
    assert math.isnan(values["loss"])
    assert (values["a"], values["b"]) == (math.inf, -math.inf)


def test_the_names_of_nan_and_infinity_are_numbers_too() -> None:
    assert _values(_only(_line(body={"values": {"a": "-Infinity"}}))) == {"a": -math.inf}


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "17",
        '"text"',
        "null",
        "[" * 10_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        _line(seq="1"),
        _line(seq=0),
        _line(seq=-1),
        _line(seq=2**64),
        _line(seq=1.5),
        _line(run_id=""),
        _line(run_id=None),
        _line(writer_id=["w"]),
        _line(body={"values": {"a": 0.5}}).replace("0.5", "9" * 5_000),
        _line(body={"values": {"a": 0.5}}).replace("0.5", "1e999"),
        _line(body={"values": {"\\": 1}}).replace("\\\\", "\\ud800"),
        "\xff\xfe",
    ],
)
def test_a_line_that_is_no_record_is_named_and_its_neighbours_are_stored(line: str) -> None:
    body = f"{_line(seq=1)}\n{line}\n{_line(seq=3)}".encode("latin-1")
    parsed = parse_json(body)
    assert [record.seq for record in parsed.batches[0].records] == [1, 3]
    assert [number for number, _ in parsed.refused_lines] == [2]


@pytest.mark.parametrize("body", ["{", "[", "[" * 10_000, '{"a":' * 10_000, "7", _line(seq=0), f"[{_line(seq=0)}]"])
def test_a_json_body_without_a_single_record_is_a_bad_body(body: str) -> None:
    with pytest.raises(BadBody):
        parse_json(body.encode())


def test_the_last_of_two_equal_keys_counts() -> None:
    assert _only(_line().replace('"time_ms": 7', '"time_ms": 7, "time_ms": 8')).time_ms == 8


def test_an_array_and_a_single_indented_object_are_records_as_well() -> None:
    as_array = parse_json(f"[{_line(1)}, {_line(2)}]".encode())
    assert [record.seq for record in as_array.batches[0].records] == [1, 2]
    indented = parse_json(json.dumps(json.loads(_line(5)), indent=2).encode())
    assert [record.seq for record in indented.batches[0].records] == [5]


def test_lines_of_several_writers_are_grouped_in_the_order_of_their_first() -> None:
    lines = [_line(1, writer_id="b"), _line(1, writer_id="a"), _line(2, writer_id="b")]
    parsed = parse_json("\n".join(lines).encode())
    assert [(batch.writer_id, len(batch.records)) for batch in parsed.batches] == [("b", 2), ("a", 1)]


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_any_body_is_stored_or_refused(body: object) -> None:
    for kind in ("metric", "console", "config", "tags", "data", "state"):
        try:
            packed = ormsgpack.packb([1, kind, 5, body])
        except ormsgpack.MsgpackEncodeError:  # integers past 64 bits, lone surrogates
            return
        parsed = _one(frame(packed))
        assert len(parsed.records) + len(parsed.refused) == 1
        assert parsed.error is None
