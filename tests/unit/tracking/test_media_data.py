"""Tables, histograms and graphs: the JSON shapes of the Pluto family, whatever is put in."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.tracking.media.data import Graph, Histogram, Table

NOWHERE = Path("nowhere")
CELLS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
NAMES = st.text(min_size=1, max_size=8)


def _visible(cell: Any) -> Any:
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell


def value_of(data: Table | Histogram | Graph) -> Any:
    """What the record says, as a reader of msgpack has it."""
    kind, body = data.stage_record(NOWHERE)
    assert kind == "data"
    unpacked = ormsgpack.unpackb(ormsgpack.packb(dict(body)))
    assert unpacked["type"] == type(data).__name__.lower() == unpacked["value"]["type"].lower()
    assert unpacked["value"]["v"] == 1
    return unpacked["value"]


@given(st.integers(1, 5).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1)))
def test_a_table_keeps_every_cell(rows: list[list[Any]]) -> None:
    names = [f"c{index}" for index in range(len(rows[0]))]
    value = value_of(Table(rows, columns=names))
    assert value["table"] == [[_visible(cell) for cell in row] for row in rows]
    types = [type(cell).__name__ for cell in rows[0]]
    assert value["col"] == [{"name": name, "dtype": kind} for name, kind in zip(names, types, strict=True)]
    json.dumps(value, allow_nan=True)


@pytest.mark.parametrize(
    "data",
    [
        {"a": [1, 2], "b": ["x", None]},
        {"a": np.array([1, 2]), "b": ("x", None)},
        [{"a": 1, "b": "x"}, {"a": 2}],
    ],
)
def test_columns_and_maps_name_themselves(data: Any) -> None:
    value = value_of(Table(data))
    assert value["table"] == [[1, "x"], [2, None]]
    assert [column["name"] for column in value["col"]] == ["a", "b"]


class DataFrame:
    """As pandas has it."""

    columns = ("a", "b")

    def to_dict(self, orient: str) -> dict[str, Any]:
        assert orient == "split"
        return {"data": [[1, np.float64(2.5)], [3, np.nan]], "columns": ["a", "b"], "index": ["r1", 2]}


def test_a_dataframe_is_a_table_with_names_for_rows_too() -> None:
    value = value_of(Table(dataframe=DataFrame()))
    assert value["table"][0] == [1, 2.5]
    assert math.isnan(value["table"][1][1])
    assert [row["name"] for row in value["row"]] == ["r1", "2"]


def test_a_table_grows_by_rows_that_fit() -> None:
    table = Table(columns=["a", "b"])
    assert value_of(table)["table"] == []
    table.add_data(1, "x")
    with pytest.raises(ValueError, match="lengths"):
        table.add_data(1)
    assert value_of(table)["table"] == [[1, "x"]]


@pytest.mark.parametrize(
    ("data", "names"), [([[1, 2], [3]], {}), ([[1, 2]], {"columns": ["a"]}), ([[1]], {"rows": ["a", "b"]})]
)
def test_rows_that_do_not_fit_are_refused(data: Any, names: Any) -> None:
    with pytest.raises(ValueError, match=r"length|names"):
        Table(data, **names)


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(TypeError, match="int"):
        Table(3)


@given(st.lists(st.floats(width=32), max_size=50), st.integers(1, 20))
def test_a_histogram_counts_every_finite_number_once(values: list[float], bins: int) -> None:
    value = value_of(Histogram(values, bins=bins))
    assert sum(value["freq"]) == sum(map(math.isfinite, values))
    assert value["maxFreq"] == max(value["freq"])
    assert len(value["freq"]) == bins
    if value["shape"] == "uniform":
        finite = [number for number in values if math.isfinite(number)] or [0.5]
        assert value["bins"]["min"] <= min(finite)
        assert value["bins"]["max"] >= max(finite)
        assert value["bins"]["num"] == bins


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=2, max_size=200), st.integers(1, 30))
def test_a_list_is_counted_as_numpy_counts_an_array(values: list[float], bins: int) -> None:
    ours, numpys = Histogram(values, bins), Histogram(np.array(values), bins)
    assert np.allclose(ours.edges, numpys.edges)
    assert sum(ours.counts) == sum(numpys.counts)
    # a number that lies on an edge may be rounded to either side
    assert sum(abs(a - b) for a, b in zip(np.cumsum(ours.counts), np.cumsum(numpys.counts), strict=True)) <= len(values)


@pytest.mark.parametrize("values", [[1e308, -1e308], [1.0, math.nextafter(1.0, 2.0)]])
def test_a_range_that_numpy_makes_no_bins_of_is_counted_all_the_same(values: list[float]) -> None:
    assert sum(value_of(Histogram(np.array(values)))["freq"]) == 2


def test_bins_that_were_counted_elsewhere_are_taken_as_they_are() -> None:
    value = value_of(Histogram(np.histogram(np.arange(10), bins=5), bins=None))
    assert value["freq"] == [2, 2, 2, 2, 2]
    assert value["bins"] == {"min": 0.0, "max": 9.0, "num": 5}
    value = value_of(Histogram(([1, 2], [0, 1, 10]), bins=None))
    assert (value["shape"], value["bins"]) == ("generic", [0.0, 1.0, 10.0])


@pytest.mark.parametrize("wrong", [([1, 2], [0, 1]), ([], [0]), ([-1], [0, 1]), ([math.nan], [0, 1]), ([1], [1, 0])])
def test_bins_that_cannot_be_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"count|edge"):
        Histogram(wrong, bins=None)
    with pytest.raises(ValueError, match="bin"):
        Histogram([1], bins=0)
    with pytest.raises(TypeError, match="str"):
        Histogram("text")


@given(
    st.dictionaries(NAMES, st.dictionaries(NAMES, CELLS, max_size=3)), st.lists(st.tuples(NAMES, NAMES), max_size=10)
)
def test_a_graph_has_every_node_and_edge_once(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> None:
    graph = Graph({"nodes": nodes, "edges": edges})
    value = value_of(graph)
    assert set(value["nodes"]) >= {_visible(name) for name in nodes}
    assert len(value["edges"]) == len(set(edges))
    ends = {(edge["source"], edge["target"]) for edge in value["edges"]}
    assert ends == {(a, b) for a, found in value["successors"].items() for b in found}
    assert ends == {(a, b) for b, found in value["predecessors"].items() for a in found}


def test_a_graph_grows_by_nodes_and_edges_with_attributes() -> None:
    graph = Graph()
    graph.add_edge("conv1", "relu", tensor="x")
    graph.add_node("conv1", kind="Conv2d", params=np.int64(9))
    value = value_of(graph)
    assert value["nodes"] == {"conv1": {"kind": "Conv2d", "params": 9}, "relu": {}}
    assert value["edges"] == [{"tensor": "x", "source": "conv1", "target": "relu"}]
