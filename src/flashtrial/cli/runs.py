"""The runs of a home as the public contract shows them, and as a table for people."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN_METRICS = 4
_STYLES = {"finished": "green", "running": "cyan", "failed": "red", "interrupted": "red", "lost": "red"}


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run, as ``GET /api/v1/runs`` and ``flashtrial runs --json`` give it."""

    id: str
    project: str
    name: str
    status: str
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, float | str] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "RunRow":
        """The row in a server's answer; what this version does not know is left out."""
        return cls(**{name: fields[name] for name in cls.__slots__ if name in fields})

    @property
    def total_points(self) -> int:
        return sum(self.points.values())

    @property
    def is_live(self) -> bool:
        return self.status in ("created", "running")


def table(rows: list[RunRow], title: str | None = None) -> "Table":
    """The rows for people: name, status, number of points, last value of the first metrics."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", expand=False)
    for heading in ("project", "run", "status"):
        shown.add_column(heading, no_wrap=True)
    shown.add_column("points", justify="right")
    shown.add_column("last metrics")
    for row in rows:
        status = Text(row.status, style=_STYLES.get(row.status, "yellow"))
        # Text, so that a name with brackets in it is shown and not taken for markup
        shown.add_row(Text(row.project), Text(row.name), status, str(row.total_points), Text(last_metrics(row)))
    return shown


def line(row: RunRow) -> str:
    """The row in one plain line."""
    return f"{row.project}/{row.name}  {row.status}  {row.total_points} points  {last_metrics(row)}".rstrip()


def last_metrics(row: RunRow) -> str:
    """The last values of the first few metrics, system figures left out."""
    own = [(name, value) for name, value in sorted(row.summary.items()) if not name.startswith("sys/")]
    cells = [f"{name}={_figure(value)}" for name, value in own[:_SHOWN_METRICS]]
    return "  ".join(cells) + ("  …" if len(own) > _SHOWN_METRICS else "")


def _figure(value: float | str) -> str:
    if isinstance(value, str) or not math.isfinite(value):
        return str(value)
    return f"{value:.4g}"
