"""`flashtrial run`: an instance, the script against it, what it made, and where to look."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flashtrial.cli import environment, progress, runs, script, up
from flashtrial.core import env

if TYPE_CHECKING:
    from rich.console import Console

_REFRESHES_PER_S = 4


def run(home: Path, path: Path, arguments: Sequence[str], echo: Callable[[str], None]) -> int:
    """The script's exit code, after it ran against the instance of `home`, which stays up."""
    argv = script.command(path, arguments)
    instance = up.ensure(home, echo)
    key = environment.read_key(home)
    surroundings = environment.for_script(instance.url, key, env.snapshot(), home)
    watcher = progress.RunWatcher(instance.url, key, env.outbox_dir())
    terminal = progress.console()
    # Not rich's own opinion: FORCE_COLOR makes it take a pipe for a terminal.
    if sys.stdout.isatty() and not terminal.is_dumb_terminal:
        code = _run_drawn(terminal, argv, surroundings, watcher)
    else:
        code = _run_plainly(argv, surroundings, watcher, echo)
    if code:
        echo(f"{path} ended with exit code {code}")
    echo(f"dashboard: {instance.url} (`flashtrial down` stops it)")
    return code


def _run_plainly(
    argv: Sequence[str], surroundings: Mapping[str, str], watcher: progress.RunWatcher, echo: Callable[[str], None]
) -> int:
    with watcher:
        code = script.run(argv, surroundings)
    for row in watcher.rows:
        echo(runs.line(row))
    return code


def _run_drawn(
    terminal: "Console", argv: Sequence[str], surroundings: Mapping[str, str], watcher: progress.RunWatcher
) -> int:
    from rich.live import Live
    from rich.text import Text

    live = Live(progress.LiveRuns(watcher), console=terminal, refresh_per_second=_REFRESHES_PER_S)
    # The watcher ends first, so that what is drawn last is how the runs ended.
    with live, watcher:
        return script.run_on_terminal(
            argv, surroundings, lambda text: terminal.print(Text.from_ansi(text), soft_wrap=True)
        )
