"""Tables, histograms and graphs: data that a record holds itself, as JSON of the Pluto family's shapes.

``to_dict()`` of each is what the record's ``value`` is; all have ``"type"`` (the class's name) and ``"v": 1``::

    Table      {"table": [[cell, …], …], "col"?: [{"name", "dtype"}, …], "row"?: [{"name", "dtype"}, …]}
    Histogram  {"freq": [n, …], "bins": {"min", "max", "num"}, "maxFreq": n, "shape": "uniform"}, or of bins that are
               not of one width {"freq": [n, …], "bins": [edge, …], "maxFreq": n, "shape": "generic"}
    Graph      {"nodes": {name: {…}}, "edges": [{"source", "target", …}], "successors": {…}, "predecessors": {…}}
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from flashtrial.protocol.records import JsonValue, RecordKind
from flashtrial.tracking.media.arrays import histogram, is_array
from flashtrial.tracking.values import plain, text


class _Data:
    """Something that is its own record, of kind ``data``."""

    type: ClassVar[str]

    def to_dict(self) -> dict[str, JsonValue]:
        raise NotImplementedError

    def stage_record(self, outbox: Path) -> tuple[RecordKind, Mapping[str, JsonValue]]:  # noqa: ARG002 - no bytes to stage
        """See `flashtrial.tracking.values.Loggable`."""
        return RecordKind.DATA, {"type": self.type, "value": self.to_dict()}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Table(_Data):
    """Rows of cells: a list of rows, a list of maps, a map of columns, an array, or a DataFrame (`data`, `dataframe`).

    `columns` and `rows` name them; what a map or a DataFrame names need not be named again. Cells are numbers, texts,
    booleans or None; whatever else is its ``str()``. Raises ValueError for rows or names that do not fit together, and
    TypeError for values that are no table.
    """

    type: ClassVar[str] = "table"

    def __init__(
        self,
        data: Any = None,
        *,
        dataframe: Any = None,
        columns: Sequence[object] | None = None,
        rows: Sequence[object] | None = None,
    ) -> None:
        cells, own_columns, own_rows = _cells(dataframe if dataframe is not None else data)
        self.columns = [text(str(name)) for name in (own_columns if columns is None else columns)]
        self.rows = [text(str(name)) for name in (own_rows if rows is None else rows)]
        self.data = [[_cell(value) for value in row] for row in cells]
        self._check()

    def add_data(self, *row: object) -> None:
        """Add a row at the end. Raises ValueError when it has another number of cells."""
        self.data.append([_cell(value) for value in row])
        try:
            self._check()
        except ValueError:
            self.data.pop()
            raise

    def to_dict(self) -> dict[str, JsonValue]:
        value: dict[str, JsonValue] = {"table": [list(row) for row in self.data], "type": "Table", "v": 1}
        if self.columns:
            first = self.data[0] if self.data else [None] * len(self.columns)
            value["col"] = _named(self.columns, first)
        if self.rows:
            value["row"] = _named(self.rows, [row[0] if row else None for row in self.data])
        return value

    def _check(self) -> None:
        widths = {len(row) for row in self.data} | ({len(self.columns)} if self.columns else set())
        if len(widths) > 1:
            raise ValueError(f"rows and names of columns have different lengths: {sorted(widths)}")
        if self.rows and len(self.rows) != len(self.data):
            raise ValueError(f"{len(self.rows)} names for {len(self.data)} rows")


class Histogram(_Data):
    """How often values fall into which of `bins` intervals of one width; NaN and infinities are left out.

    With ``bins=None``, `data` is ``(counts, edges)`` as ``numpy.histogram`` gives them, one edge more than counts.
    Raises ValueError and TypeError for data that are none.
    """

    type: ClassVar[str] = "histogram"

    def __init__(self, data: Any, bins: int | None = 64) -> None:
        if bins is None:
            given, edges = data
            self.counts = [_count(value) for value in _numbers(given)]
            self.edges = [float(value) for value in _numbers(edges)]
        elif is_array(data) and math.prod(data.shape):
            self.counts, self.edges = _counted_array(data, _at_least_one(bins))
        else:
            self.counts, self.edges = _counted(_numbers(data), _at_least_one(bins))
        if not self.counts or len(self.edges) != len(self.counts) + 1:
            raise ValueError(f"{len(self.counts)} counts have {len(self.counts) + 1} edges, not {len(self.edges)}")
        if any(after < before for before, after in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("the edges of bins ascend")

    def to_dict(self) -> dict[str, JsonValue]:
        is_uniform = _are_even(self.edges)
        span: JsonValue = {"min": self.edges[0], "max": self.edges[-1], "num": len(self.counts)}
        return {
            "freq": [*self.counts],
            "bins": span if is_uniform else [*self.edges],
            "maxFreq": max(self.counts),
            "shape": "uniform" if is_uniform else "generic",
            "type": "Histogram",
            "v": 1,
        }


class Graph(_Data):
    """Nodes and edges between them, each with attributes."""

    type: ClassVar[str] = "graph"

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        """`data` is ``{"nodes": {name: {…}}, "edges": {(from, to): {…}} or [(from, to), …]}``; both may be left out."""
        self._nodes: dict[str, dict[str, Any]] = {}
        self._edges: dict[tuple[str, str], dict[str, Any]] = {}
        given = data or {}
        for node, attributes in _pairs(given.get("nodes", {})):
            self.add_node(node, **attributes)
        for (source, target), attributes in _pairs(given.get("edges", {})):
            self.add_edge(source, target, **attributes)

    def add_node(self, node: object, /, **attributes: Any) -> None:
        """Add a node, or attributes to one that is there."""
        self._nodes.setdefault(text(str(node)), {}).update(attributes)

    def add_edge(self, source: object, target: object, /, **attributes: Any) -> None:
        """Add an edge, and the nodes at its ends where they are missing. A second one replaces the first."""
        self.add_node(source)
        self.add_node(target)
        self._edges[text(str(source)), text(str(target))] = attributes

    def to_dict(self) -> dict[str, JsonValue]:
        edges = [{**_plain_map(attributes), "source": a, "target": b} for (a, b), attributes in self._edges.items()]
        successors: dict[str, JsonValue] = {node: [b for a, b in self._edges if a == node] for node in self._nodes}
        predecessors: dict[str, JsonValue] = {node: [a for a, b in self._edges if b == node] for node in self._nodes}
        return {
            "nodes": {node: _plain_map(attributes) for node, attributes in self._nodes.items()},
            "edges": [*edges],
            "successors": successors,
            "predecessors": predecessors,
            "type": "Graph",
            "v": 1,
        }


def _cells(data: Any) -> tuple[list[Sequence[Any]], Sequence[object], Sequence[object]]:
    """Rows, names of columns and names of rows, as far as `data` tells them."""
    if hasattr(data, "columns") and hasattr(data, "to_dict"):  # pandas
        split = data.to_dict(orient="split")
        return split["data"], split["columns"], split["index"]
    if hasattr(data, "columns") and hasattr(data, "rows") and callable(data.rows):  # polars
        return list(data.rows()), list(data.columns), ()
    if hasattr(data, "tolist"):
        data = data.tolist()
    match data:
        case None:
            return [], (), ()
        case Mapping():
            return [list(row) for row in zip(*map(_list, data.values()), strict=True)], list(data), ()
        case [Mapping(), *_]:
            names = list(dict.fromkeys(name for row in data for name in row))
            return [[row.get(name) for name in names] for row in data], names, ()
        case list() | tuple():
            return [_list(row) for row in data], (), ()
    raise TypeError(f"a table is rows, columns or a DataFrame, not {type(data).__module__}.{type(data).__qualname__}")


def _list(row: Any) -> list[Any]:
    row = row.tolist() if hasattr(row, "tolist") else row
    return list(row) if isinstance(row, Iterable) and not isinstance(row, str | bytes) else [row]


def _cell(value: object) -> JsonValue:
    cell = plain(value)
    return cell if cell is None or isinstance(cell, bool | int | float | str) else text(str(value))


def _named(names: Sequence[str], cells: Sequence[JsonValue]) -> list[JsonValue]:
    return [{"name": name, "dtype": type(cell).__name__} for name, cell in zip(names, cells, strict=True)]


def _numbers(data: Any) -> list[float]:
    """All numbers in an array or a sequence, however nested. Raises TypeError."""
    if hasattr(data, "detach"):
        data = data.detach().cpu()
    data = data.tolist() if hasattr(data, "tolist") else data
    if isinstance(data, int | float):
        return [data]
    if not isinstance(data, Iterable) or isinstance(data, str | bytes):
        raise TypeError(f"a histogram is of numbers, not {type(data).__module__}.{type(data).__qualname__}")
    return [number for item in data for number in ([item] if type(item) is float else _numbers(item))]


def _count(value: float) -> int | float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{value} is no count")
    return int(value) if value == int(value) else value


def _at_least_one(bins: int) -> int:
    if bins < 1:
        raise ValueError(f"a histogram has at least one bin, not {bins}")
    return bins


def _counted_array(array: Any, bins: int) -> tuple[list[int | float], list[float]]:
    """As numpy counts; where its arithmetic ends (a range too wide or too narrow for the bins), as we do."""
    counted = histogram(array, bins)
    if counted is None:
        return _counted(_numbers(array), bins)
    return [*counted[0]], counted[1]


def _counted(values: Sequence[float], bins: int) -> tuple[list[int | float], list[float]]:
    finite = [float(value) for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if low == high:  # as numpy has it
        low, high = low - 0.5, high + 0.5
    width = high / bins - low / bins
    counts: list[int | float] = [0] * bins
    for value in finite:
        # halves, since the difference of two large numbers may be none
        counts[min(int((value / 2 - low / 2) / width * 2), bins - 1) if width > 0 else 0] += 1
    return counts, [(low / 2 + width / 2 * index) * 2 for index in range(bins)] + [high]


def _are_even(edges: Sequence[float]) -> bool:
    width = (edges[-1] - edges[0]) / (len(edges) - 1)
    if not math.isfinite(width):
        return False
    slack = abs(width) * 1e-6 + 1e-12 * max(abs(edges[0]), abs(edges[-1]))
    return all(abs(edge - (edges[0] + width * index)) <= slack for index, edge in enumerate(edges))


def _pairs(given: Any) -> Iterable[tuple[Any, Mapping[str, Any]]]:
    return given.items() if isinstance(given, Mapping) else ((each, {}) for each in given)


def _plain_map(attributes: Mapping[str, Any]) -> dict[str, JsonValue]:
    found = plain(attributes)
    assert isinstance(found, dict)
    return found
