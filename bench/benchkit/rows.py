"""A row of the results: made by a benchmark, sent as a line of JSON, written as a line of a table."""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

HEADER = "| id | what | flashtrial | floor | peers | ratio | goal | met | load |\n|---|---|---|---|---|---|---|---|---|"


def load_now() -> float:
    """The machine's load over the last minute, the benchmark's own included."""
    return os.getloadavg()[0]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of ours beside what it is held against.

    `ratio` is ours over the floor where there is one (else over the best peer). `met` is None where no goal is set;
    `peers` are shown one a line.
    """

    id: str
    what: str
    ours: str
    floor: str = ""
    peers: Mapping[str, str] = field(default_factory=dict)
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    load: float = field(default_factory=load_now)

    def encoded(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def decoded(cls, line: str) -> "Row":
        """Raises `ValueError` or `TypeError` for a line that is no row."""
        found: dict[str, Any] = json.loads(line)
        return cls(**found)

    def markdown(self) -> str:
        peers = "<br>".join(f"{name} {figure}" for name, figure in self.peers.items())
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        met = {None: "", True: "yes", False: "**no**"}[self.met]
        cells = (self.id, self.what, self.ours, self.floor, peers, ratio, self.goal, met, f"{self.load:.1f}")
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def failed(row_id: str, reason: str) -> Row:
    """The row of what could not be measured, which never counts as met."""
    return Row(row_id, f"failed: {reason}"[:300], "", met=False)


def table(rows: Iterable[Row]) -> str:
    """Rows in the order of their ids; those of one id as they came."""
    ordered = sorted(rows, key=lambda row: int(row.id.removeprefix("P")))
    return "\n".join([HEADER, *(row.markdown() for row in ordered)])
