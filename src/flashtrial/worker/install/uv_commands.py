"""How uv is called, and how what it says is read. Runs nothing."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uv

from flashtrial.core import files
from flashtrial.worker.install.package_tool import telling

_RESOLVED = re.compile(r"^ \+ (?P<name>[\w.-]+)==(?P<version>\S+?)(?: \(from (?P<url>\S+)\))?$", re.MULTILINE)
_CACHE = re.compile(r"cache entry|wheel is invalid|Failed to install:|Failed to (?:read|open|decode).*cache")
_OFFLINE = re.compile(r"network was disabled|Network connectivity is disabled")
_CHATTER = re.compile(r"^(Using (Python|CPython)|Resolved |warning: |\s*$)")

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


@dataclass(frozen=True, slots=True)
class Uv:
    """uv for the packages of one interpreter."""

    python: str = sys.executable
    name: str = "uv"
    adds_to_site: bool = True

    def environment(self, given: Mapping[str, str], cache: Path, target: Path) -> dict[str, str]:
        """`given` with uv's cache and index settings, none of which overrides what the user set for uv."""
        chosen = with_settings(given, cache)
        used_cache = files.ensure_private_dir(Path(chosen["UV_CACHE_DIR"]))
        chosen.setdefault("UV_LINK_MODE", link_mode(used_cache, target))
        return chosen

    def resolve_command(self, requirements: Path, constraints: Path, report: Path) -> list[str]:  # noqa: ARG002
        """Say what would have to be installed over the interpreter's packages; `report` is not used.

        A dry run rather than `pip compile`, because it alone knows what is installed: builds that no index has (a torch
        with ``+cu124``) keep their place, and their dependencies come from their own metadata. Since it changes
        nothing, it may look at an interpreter that its distribution manages, too.
        """
        lists = ["--requirements", str(requirements), "--constraints", str(constraints)]
        return [*self._pip_install(), "--dry-run", "--break-system-packages", *lists]

    def resolved(self, said: str, report: Path) -> tuple[str, ...]:  # noqa: ARG002
        """The exact requirements that a dry run listed."""
        return tuple(_exact(match) for match in _RESOLVED.finditer(said))

    def install_command(self, resolved: Path, site: Path) -> list[str]:
        """Put exactly the packages of `resolved` into `site`."""
        return [*self._pip_install(), "--no-deps", "--requirements", str(resolved), "--target", str(site)]

    def offline(self, command: Sequence[str]) -> list[str]:
        """The same command without the network, which saves uv 40 ms of preparing for one."""
        return [*command, "--offline"]

    def has_built_in_vain(self, said: str) -> bool:
        """Whether a build failed, and not for want of a network."""
        return "Failed to build" in said and not _OFFLINE.search(said)

    def uncached(self, command: Sequence[str]) -> list[str]:
        """The same command without the use of a cache."""
        return [*command, "--no-cache"]

    def forget_command(self, packages: Sequence[str]) -> list[str]:
        """Take all versions of `packages` (names) out of uv's cache."""
        return [uv.find_uv_bin(), "cache", "clean", "--color=never", "--no-progress", *packages]

    def blames_cache(self, said: str) -> bool:
        """Whether uv may have failed because its cache is damaged."""
        return _CACHE.search(said) is not None

    def is_conflict(self, said: str) -> bool:
        """Whether uv found that the requirements, or they and the constraints, exclude each other."""
        return "No solution found" in said

    def reason(self, said: str) -> str:
        """The last lines of what uv said, without those that tell of no error."""
        return telling(said, _CHATTER)

    def _pip_install(self) -> list[str]:
        return [uv.find_uv_bin(), "pip", "install", "--color=never", "--no-progress", "--python", self.python]


def with_settings(given: Mapping[str, str], cache: Path) -> dict[str, str]:
    """`given` with `cache`, and pip's index settings under uv's names, where uv has none of its own."""
    chosen = {"UV_CACHE_DIR": str(cache), **given, "UV_PYTHON_DOWNLOADS": "never"}
    chosen.pop("COLUMNS", None)  # messages are for logs and answers: uv would break their lines
    for theirs, ours in _OF_PIP.items():
        if given.get(theirs) and not given.get(ours) and not given.get(_OLD_NAMES.get(ours, ours)):
            chosen[ours] = ",".join(given[theirs].split()) if ours in _SEPARATED_BY_COMMA else given[theirs]
    return chosen


def link_mode(cache: Path, target: Path) -> str:
    """Hard links where both lie on one file system: no copy, and no warning where there can be none."""
    return "hardlink" if cache.stat().st_dev == target.stat().st_dev else "copy"


def _exact(match: re.Match[str]) -> str:
    return f"{match['name']} @ {match['url']}" if match["url"] else f"{match['name']}=={match['version']}"
