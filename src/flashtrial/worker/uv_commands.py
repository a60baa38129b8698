"""How uv is called, and how what it says is read. Runs nothing."""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import uv

_RESOLVED = re.compile(r"^ \+ (?P<name>[\w.-]+)==(?P<version>\S+?)(?: \(from (?P<url>\S+)\))?$", re.MULTILINE)
_CHATTER = re.compile(r"^(Using (Python|CPython)|Resolved |warning: |\s*$)")
_REASON_LINES = 20

# What pip reads and uv does not, under uv's names, so that one set-up serves both. pip separates by blanks.
_OF_PIP = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_NO_INDEX": "UV_NO_INDEX",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
    "PIP_CERT": "SSL_CERT_FILE",
}
_SEPARATED_BY_COMMA = frozenset({"UV_FIND_LINKS"})
_OLD_NAMES = {"UV_DEFAULT_INDEX": "UV_INDEX_URL"}


def resolve_command(requirements: Path, constraints: Path, python: str = sys.executable) -> list[str]:
    """Say what would have to be installed over that interpreter's packages to meet `requirements`.

    A dry run rather than `pip compile`, because it alone knows what is installed: builds that no index has (a torch
    with ``+cu124``) keep their place, and their dependencies come from their own metadata. Since it changes nothing,
    it may look at an interpreter that its distribution manages, too.
    """
    files = ["--requirements", str(requirements), "--constraints", str(constraints)]
    return [*_pip_install(python), "--dry-run", "--break-system-packages", *files]


def install_command(resolved: Path, site: Path) -> list[str]:
    """Put exactly the packages of `resolved` into `site`."""
    return [*_pip_install(sys.executable), "--no-deps", "--requirements", str(resolved), "--target", str(site)]


def _pip_install(python: str) -> list[str]:
    return [uv.find_uv_bin(), "pip", "install", "--color=never", "--no-progress", "--python", python]


def environment(given: Mapping[str, str], cache: Path) -> dict[str, str]:
    """`given` with uv's cache and index settings, none of which overrides what the user set for uv."""
    chosen = {"UV_CACHE_DIR": str(cache), **given, "UV_PYTHON_DOWNLOADS": "never"}
    chosen.pop("COLUMNS", None)  # messages are for logs and answers: uv would break their lines
    for theirs, ours in _OF_PIP.items():
        if given.get(theirs) and not given.get(ours) and not given.get(_OLD_NAMES.get(ours, ours)):
            chosen[ours] = ",".join(given[theirs].split()) if ours in _SEPARATED_BY_COMMA else given[theirs]
    return chosen


def link_mode(cache: Path, target: Path) -> str:
    """Hard links where both lie on one file system: no copy, and no warning where there can be none."""
    return "hardlink" if cache.stat().st_dev == target.stat().st_dev else "copy"


def resolved(said: str) -> tuple[str, ...]:
    """The exact requirements that a dry run listed."""
    return tuple(_exact(match) for match in _RESOLVED.finditer(said))


def _exact(match: re.Match[str]) -> str:
    return f"{match['name']} @ {match['url']}" if match["url"] else f"{match['name']}=={match['version']}"


def is_conflict(said: str) -> bool:
    """Whether uv found that the requirements, or they and the constraints, exclude each other."""
    return "No solution found" in said


def reason(said: str) -> str:
    """The last lines of what uv said, without those that tell of no error."""
    return "\n".join(list(_telling_lines(said))[-_REASON_LINES:])


def _telling_lines(said: str) -> Iterator[str]:
    return (line.rstrip() for line in said.splitlines() if not _CHATTER.match(line))
