"""How runs are shown to people."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from flashtrial.cli import progress, runs
from flashtrial.cli.runs import RunRow

ROW = RunRow(
    "run_1", "digits", "mlp", "finished", summary={"loss": 0.123456, "acc": "NaN"}, points={"loss": 18, "acc": 18}
)


def drawn(thing: object) -> str:
    out = StringIO()
    Console(file=out, width=120).print(thing)
    return out.getvalue()


def test_a_row_ignores_what_a_newer_server_says_too() -> None:
    fields = {"id": "r", "project": "p", "name": "n", "status": "running", "colour": "red"}
    assert RunRow.from_json(fields) == RunRow("r", "p", "n", "running")


def test_a_line_tells_status_points_and_last_values() -> None:
    assert runs.line(ROW) == "digits/mlp  finished  36 points  acc=NaN  loss=0.1235"


def test_system_figures_and_the_fifth_metric_are_left_out() -> None:
    row = RunRow("r", "p", "n", "running", summary={"sys/cpu": 1.0, **{f"m{n}": float(n) for n in range(5)}})
    assert runs.last_metrics(row) == "m0=0  m1=1  m2=2  m3=3  …"


def test_a_name_with_markup_is_shown_as_it_is() -> None:
    assert "[red]x[/red]" in drawn(runs.table([RunRow("r", "p", "[red]x[/red]", "running")]))


def test_a_table_has_a_line_for_each_run() -> None:
    text = drawn(runs.table([ROW, RunRow("r", "p", "other", "running")]))
    assert "mlp" in text
    assert "other" in text


class FixedRuns(progress.RunWatcher):
    """A watcher that has seen what it is given."""

    def __init__(self, *rows: RunRow) -> None:
        super().__init__("http://127.0.0.1:1", "", Path())
        self._rows = rows


def test_the_live_view_counts_the_runs_that_ended() -> None:
    running = RunRow("r", "p", "other", "running")
    assert "1 of 2 runs ended" in drawn(progress.LiveRuns(FixedRuns(ROW, running)))


def test_the_live_view_is_empty_before_the_first_run() -> None:
    assert drawn(progress.LiveRuns(FixedRuns())).strip() == ""
