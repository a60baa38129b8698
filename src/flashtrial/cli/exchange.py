"""Runs to files and back, and backups; works on the database of a home, whether a server runs or not."""

from collections.abc import Callable
from pathlib import Path


def export(
    home: Path, target: Path, echo: Callable[[str], None], *, kind: str, run_ids: list[str], project: str | None
) -> None:
    """Write runs into the directory `target`. Raises what `export_runs` raises."""
    from flashtrial.server.exchange.transfer import Format, export_runs
    from flashtrial.server.settings import ServerSettings

    done = export_runs(ServerSettings(home), target, Format(kind), run_ids=run_ids, project=project)
    echo(f"wrote {done.runs} runs ({done.records} records, {done.files} files) to {target}")


def take_in(home: Path, source: Path, echo: Callable[[str], None]) -> bool:
    """Import what an export wrote; whether all of it could be. Raises what `import_runs` raises."""
    from flashtrial.server.exchange.intake import import_runs
    from flashtrial.server.settings import ServerSettings

    done = import_runs(ServerSettings(home), source)
    echo(f"stored {done.stored} records; {done.duplicates} were there already, {done.refused} refused")
    for reason in done.reasons:
        echo(f"refused: {reason}")
    return not done.refused


def back_up(home: Path, target: Path, echo: Callable[[str], None]) -> None:
    """Copy the database and the contents of files. Raises what `backups.back_up` raises."""
    from flashtrial.server.exchange.backups import back_up as copy
    from flashtrial.server.settings import ServerSettings

    blobs = copy(ServerSettings(home), target)
    echo(f"{target}: the database of {home}" + (f"; {blobs} files in {target}.blobs" if blobs else ""))
