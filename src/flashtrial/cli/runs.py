"""The runs of a home as the public contract shows them, and as a table for people."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashtrial.cli import outbox
from flashtrial.core import env
from flashtrial.tracking.journal.routes import NATIVE
from flashtrial.tracking.settings.address import INSTANCE

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN_METRICS = 4
_WIDTH_WITHOUT_TERMINAL = 200  # a pipe has no width: cut nothing
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


def on_disk(home: Path) -> list[dict[str, Any]]:
    """The newest thousand runs in the home's database, as ``flashtrial runs --json`` prints them; nothing need run."""
    from flashtrial.server.settings import database_of
    from flashtrial.server.views import read_runs

    return [dict(view) for view in read_runs(database_of(home))]


def show(home: Path, *, as_json: bool, echo: Callable[[str], None]) -> None:
    """Print the runs of `home`, as JSON or as a table."""
    listed = on_disk(home)
    if as_json:
        echo(json.dumps(listed, indent=2, allow_nan=False))
        return
    if listed:
        _print(table([RunRow.from_json(fields) for fields in listed], with_ids=True))
    for line_ in _waiting(env.outbox_dir(), {fields["id"] for fields in listed}):
        echo(line_)
    if not listed:
        echo(f"no runs in {home} yet")


def _waiting(outbox_dir: Path, arrived: set[str]) -> list[str]:
    """A line for each run of which records wait on this disk."""
    return [
        f"{each.run_id}: {each.records} {each.unit} wait for {_place(each)} ({each.reason})"
        + ("" if each.run_id in arrived or not _goes_here(each) else "; none of it has arrived here")
        for each in outbox.waiting(outbox_dir)
    ]


def _goes_here(each: outbox.Waiting) -> bool:
    """Whether it goes to this home's own instance, as far as the journal says."""
    return each.where in (NATIVE, f"{NATIVE} {INSTANCE}")


def _place(each: outbox.Waiting) -> str:
    return each.destination if _goes_here(each) else each.where.replace(" ", " at ", 1).removesuffix(f" at {INSTANCE}")


def _print(shown: "Table") -> None:
    from rich.console import Console

    terminal = Console()
    if not sys.stdout.isatty():
        terminal.width = _WIDTH_WITHOUT_TERMINAL
    terminal.print(shown)


def table(rows: list[RunRow], *, with_ids: bool = False) -> "Table":
    """The rows for people: name, status, number of points, last value of the first metrics."""
    from rich.table import Table
    from rich.text import Text

    shown = Table()
    for heading in (*(["id"] if with_ids else []), "project", "run", "status"):
        shown.add_column(heading, no_wrap=True)
    shown.add_column("points", justify="right")
    shown.add_column("last metrics")
    for row in rows:
        status = Text(row.status, style=_STYLES.get(row.status, "yellow"))
        # Text, so that a name with brackets in it is shown and not taken for markup
        names = [Text(row.id)] if with_ids else []
        names += [Text(row.project), Text(row.name)]
        shown.add_row(*names, status, str(row.total_points), Text(last_metrics(row)))
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
