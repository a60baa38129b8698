"""`flashtrial run`: an instance, the script against it, what it made, and where to look."""

from collections.abc import Callable, Sequence
from pathlib import Path

from flashtrial.cli import environment, progress, script, up
from flashtrial.core import env

_REFRESHES_PER_S = 4


def run(home: Path, path: Path, arguments: Sequence[str], echo: Callable[[str], None]) -> int:
    """The script's exit code, after it ran against the instance of `home`, which stays up."""
    argv = script.command(path, arguments)
    instance = up.ensure(home, up.UpOptions(), echo)
    key = environment.read_key(home)
    surroundings = environment.for_script(instance.url, key, env.snapshot())
    terminal = progress.console()
    watcher = progress.RunWatcher(instance.url, key)
    with watcher:
        code = _on_terminal(argv, surroundings, watcher) if terminal.is_terminal else script.run(argv, surroundings)
    if not terminal.is_terminal:
        for line in progress.closing_lines(watcher.rows):
            echo(line)
    echo(f"dashboard: {instance.url} (`flashtrial down` stops it)")
    return code


def _on_terminal(argv: list[str], surroundings: dict[str, str], watcher: progress.RunWatcher) -> int:
    from rich.live import Live
    from rich.text import Text

    terminal = progress.console()
    with Live(progress.LiveRuns(watcher), console=terminal, refresh_per_second=_REFRESHES_PER_S):
        return script.run_on_terminal(argv, surroundings, lambda text: terminal.print(Text.from_ansi(text)))
