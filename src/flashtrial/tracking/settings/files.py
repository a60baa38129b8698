"""Settings in files: ``settings.toml`` in the home, and those of the project, which the nearest directory upward has.

A project's are the table ``[tool.flashtrial]`` of ``pyproject.toml``, or a file ``flashtrial.toml`` beside it, which
wins; looked for from the working directory up to the first directory with a ``.git``. They come with somebody's
repository, so they may not name a server, a token or a directory. Standard library only, and no parser without a file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flashtrial.core.errors import ConfigurationError

HOME_FILE = "settings.toml"
PROJECT_FILE = "flashtrial.toml"
_PYPROJECT = "pyproject.toml"
_TABLE = b"[tool.flashtrial]"


def read_home_settings(home: Path) -> tuple[Path, Mapping[str, Any]]:
    """The home's settings file and what it says, which is nothing where there is none. Raises `ConfigurationError`."""
    path = home / HOME_FILE
    content = _content(path)
    return path, {} if content is None else _parsed(path, content)


def read_project_settings(directory: Path) -> tuple[Path, Mapping[str, Any]]:
    """The project's settings file and what it says; an empty map where there is none. Raises `ConfigurationError`."""
    for place in (directory, *directory.parents):
        path = place / PROJECT_FILE
        content = _content(path)
        if content is not None:
            return path, _parsed(path, content)
        path = place / _PYPROJECT
        content = _content(path)
        if content is not None and _TABLE in content:
            return path, _parsed(path, content)["tool"]["flashtrial"]
        if (place / ".git").exists():
            break
    return directory / PROJECT_FILE, {}


def _content(path: Path) -> bytes | None:
    """The file's bytes; None where there is none, or none for us."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
        return None


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - milliseconds that only those with a file pay

    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
