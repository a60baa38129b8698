"""Values that users log: every one of them is kept, or refused by name."""

import argparse
import datetime as dt
import enum
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import ormsgpack
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.server.records import parse_record
from flashtrial.tracking import values
from flashtrial.tracking.values import Datum, parse_logged, plain

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8)
NUMBERS = st.one_of(st.floats(), st.integers(), st.booleans(), st.floats(width=32).map(np.float32))
TREES = st.recursive(
    st.dictionaries(NAMES, NUMBERS | st.text(max_size=5) | st.lists(NUMBERS, max_size=3), max_size=4),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=4,
)


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


@given(TREES)
def test_nothing_is_dropped_and_everything_can_be_packed(tree: dict[str, Any]) -> None:
    numbers, others = parse_logged(tree)
    data = {datum.name: datum for datum in others}
    expected = dict(leaves(tree))
    assert numbers.keys() | data.keys() == expected.keys()
    assert not numbers.keys() & data.keys()
    assert all(isinstance(datum, Datum) for datum in others)
    ormsgpack.packb({"values": dict(numbers), "data": [datum.value for datum in others if isinstance(datum, Datum)]})
    for name, value in numbers.items():
        wanted = expected[name]
        assert same(value, float(wanted) if abs(wanted) >= 2**63 else wanted)


@given(st.dictionaries(NAMES, st.floats(), max_size=5))
def test_floats_are_taken_as_they_are(numbers: dict[str, float]) -> None:
    assert parse_logged(numbers)[0] is numbers


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (True, 1),
        (3, 3),
        (2**63 - 1, 2**63 - 1),
        (2**63, float(2**63)),
        (-(2**70), -float(2**70)),
        (10**400, math.inf),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), 1),
        (np.array(2.5), 2.5),
        (np.array([[2]]), 2),
        (np.longdouble(1.5), 1.5),
        (Decimal("0.25"), 0.25),
        (math.inf, math.inf),
        (1e308, 1e308),
    ],
)
def test_a_number_of_any_kind_is_a_number(value: object, number: float) -> None:
    numbers, _ = parse_logged({"x": value})
    assert numbers == {"x": number}
    assert type(numbers["x"]) is type(number)


def test_nan_stays_nan() -> None:
    assert math.isnan(parse_logged({"x": np.float32("nan"), "y": 1})[0]["x"])


def test_strings_and_lists_are_data() -> None:
    _, data = parse_logged({"a": {"text": "hé"}, "list": [1, "b", np.int32(2)], "array": np.arange(3)})
    assert data == (
        Datum("a/text", "string", "hé"),
        Datum("list", "list", [1, "b", 2]),
        Datum("array", "list", [0, 1, 2]),
    )


def test_a_lone_surrogate_becomes_visible() -> None:
    assert parse_logged({"x": "a\ud800"})[1] == (Datum("x", "string", "a\\ud800"),)


@pytest.mark.parametrize("value", [None, object(), 1j, dt.date(2024, 1, 1), b"x", {1, 2}])
def test_what_cannot_be_logged_is_named_with_its_type(value: object) -> None:
    with pytest.raises(TypeError, match=rf"'a/b'.*{type(value).__name__}"):
        parse_logged({"a": {"b": value}})


def test_two_values_of_one_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="'a/b'"):
        parse_logged({"a/b": 1, "a": {"b": 2}})


@pytest.mark.parametrize("values", [{"": 1.0}, {"x" * 1025: 1.0}, {"": "text"}, {"x" * 1025: {"y": 1}}])
def test_a_name_that_the_server_would_refuse_is_an_error_where_it_is_logged(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="1 to 1024 characters"):
        parse_logged({"fine": 1.0, **values})
    parse_logged({"fine": 1.0})


def test_members_of_text_enumerations_are_names() -> None:
    class Metric(str, enum.Enum):  # noqa: UP042 - what people write
        LOSS = "loss"

    for _ in range(2):
        assert dict(parse_logged({Metric.LOSS: 1})[0]) == {"loss": 1}
    assert plain({Metric.LOSS: 1.0}) == {"loss": 1.0}


def test_a_list_nested_deeper_than_the_server_takes_is_an_error() -> None:
    nested: list[Any] = [1]
    for _ in range(70):
        nested = [nested]
    with pytest.raises(ValueError, match="nested deeper"):
        parse_logged({"x": nested})


def test_a_dict_that_holds_itself_is_an_error() -> None:
    circle: dict[str, object] = {}
    circle["x"] = circle
    with pytest.raises(ValueError, match="nested deeper"):
        parse_logged(circle)


def test_a_large_integer_is_spoken_of_once(caplog: pytest.LogCaptureFixture) -> None:
    values._said.clear()
    for _ in range(3):
        parse_logged({"big": 2**64, "x": 1})
    assert [record.getMessage() for record in caplog.records if "64 bits" in record.getMessage()] == [
        "'big' has an integer beyond 64 bits; such integers are logged as floats"
    ]


def test_a_configuration_may_hold_anything() -> None:
    config = {1: np.float32(0.5), "path": dt.date(2024, 1, 2), "s": {3}, "t": (1, None), "n": {"a": True}}
    assert plain(config) == {"1": 0.5, "path": "2024-01-02", "s": [3], "t": [1, None], "n": {"a": True}}
    ormsgpack.packb(plain(config))


@dataclass(slots=True)
class Optimizer:
    lr: float
    betas: deque[float]


class Plan(pydantic.BaseModel):
    epochs: int = 3
    optimizer: Any = None


def test_objects_of_named_values_in_a_configuration_are_maps() -> None:
    optimizer = Optimizer(0.1, deque([0.5, 0.9]))
    said = {"lr": 0.1, "betas": [0.5, 0.9]}
    assert plain({"ns": argparse.Namespace(o=optimizer)}) == {"ns": {"o": said}}
    assert plain([Plan(optimizer=SimpleNamespace(o=optimizer))]) == [{"epochs": 3, "optimizer": {"o": said}}]
    assert plain({"kind": Optimizer, "all": range(10**9)}) == {"kind": str(Optimizer), "all": "range(0, 1000000000)"}


@pytest.mark.parametrize(("library", "wrapper"), [("PIL.Image", "Image"), ("pandas", "Table")])
def test_a_value_that_only_wants_wrapping_is_refused_with_the_wrapper(library: str, wrapper: str) -> None:
    value = type("Foreign", (), {"__module__": library})()
    with pytest.raises(TypeError, match=rf"'x' is a {library}.Foreign.*wrap it as flashtrial.{wrapper}"):
        parse_logged({"x": value})


def test_a_configuration_that_holds_itself_ends() -> None:
    circle: dict[str, object] = {}
    circle["x"] = circle
    ormsgpack.packb(plain(circle))


@pytest.mark.parametrize("depth", range(55, 70))
def test_what_is_made_plain_is_never_too_deep_for_the_server(depth: int) -> None:
    config: Any = 1
    for _ in range(depth):
        config = {"x": config}
    parse_record(1, "state", 5, {"status": "running", "config": plain(config)})


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (np.uint64(2**64 - 1), float(2**64 - 1)),
        (np.float16(0.5), 0.5),
        (np.float64(-math.inf), -math.inf),
        (np.array([True]), 1),
        (np.array(1e308), 1e308),
        (-(2**63), -(2**63)),
        (-(2**63) - 1, -float(2**63)),
    ],
)
def test_the_edges_of_numbers_are_kept(value: object, number: float) -> None:
    numbers, others = parse_logged({"x": value})
    assert (numbers, others) == ({"x": number}, ())


def test_names_are_kept_as_they_are() -> None:
    names = ["é", "日本", "a b", "../up", "<b>", "🙂", "a/b", "%2F", "x" * 1024, "e\u0301"]
    assert list(parse_logged(dict.fromkeys(names, 1.0))[0]) == names
