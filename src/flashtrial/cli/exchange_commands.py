"""``export``, ``import`` and ``backup``: their arguments; what they do is in `flashtrial.cli.exchange`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flashtrial.core import env


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    app.command("export")(_export)
    app.command("import")(_import)
    app.command("backup")(_backup)


def _export(
    target: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Where to; made where it is not there.")],
    run: Annotated[list[str] | None, typer.Option(help="Only this run; may be given several times.")] = None,
    project: Annotated[str | None, typer.Option(help="Only the runs of this project.")] = None,
    kind: Annotated[
        Literal["json", "csv", "parquet"],
        typer.Option("--format", help="json keeps every record as it came; the others are tables."),
    ] = "json",
) -> None:
    """Write runs, with the files they logged, into a directory."""
    from flashtrial.cli import exchange

    exchange.export(env.home(), target, typer.echo, kind=kind, run_ids=run or [], project=project)


def _import(
    source: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="What export wrote, or its records.ndjson.")],
) -> None:
    """Take in exported runs; doing it twice changes nothing. Exit code 1 when records were refused."""
    from flashtrial.cli import exchange

    if not exchange.take_in(env.home(), source, typer.echo):
        raise typer.Exit(1)


def _backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy of the database goes.")],
) -> None:
    """Copy the database, and the files into FILE.blobs, while a server runs or not."""
    from flashtrial.cli import exchange

    exchange.back_up(env.home(), target, typer.echo)
