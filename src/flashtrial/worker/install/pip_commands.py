"""How pip is called, and how what it says is read. Runs nothing. Its own configuration (files and variables) holds."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from flashtrial.worker.install.base_packages import InstalledPackage
from flashtrial.worker.install.package_tool import telling

_OLDEST = Version("22.2")  # the first that can tell what it would install, in a form for programs
_CHATTER = re.compile(r"^(WARNING: |\[notice\]|\s*$)")

# Wins over pip's configuration files, in which options that exclude `--target` may stand.
_FORCED = {
    "PIP_BREAK_SYSTEM_PACKAGES": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_COLOR": "1",
    "PIP_NO_INPUT": "1",
    "PIP_REQUIRE_VIRTUALENV": "0",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_USER": "0",
}


def has_usable_pip(base: Mapping[str, InstalledPackage]) -> bool:
    """Whether the interpreter with those packages has a pip that is new enough."""
    return "pip" in base and Version(base["pip"].version) >= _OLDEST


@dataclass(frozen=True, slots=True)
class Pip:
    """The pip of one interpreter."""

    python: str = sys.executable
    name: str = "pip"
    adds_to_site: bool = False  # it warns, and leaves out, where two packages share a directory

    def environment(self, given: Mapping[str, str], cache: Path, target: Path) -> dict[str, str]:  # noqa: ARG002
        """`given` less what would send packages elsewhere; pip's cache stays where pip has it."""
        return {name: value for name, value in given.items() if name not in ("PIP_TARGET", "PIP_PREFIX")} | _FORCED

    def resolve_command(self, requirements: Path, constraints: Path, report: Path) -> list[str]:
        """Write to `report` what would have to be installed over the interpreter's packages."""
        lists = ["--requirement", str(requirements), "--constraint", str(constraints)]
        return [*self._install(), "--dry-run", "--report", str(report), *lists]

    def resolved(self, said: str, report: Path) -> tuple[str, ...]:  # noqa: ARG002
        """The exact requirements in `report`."""
        found = json.loads(report.read_text(encoding="utf-8"))
        return tuple(sorted(_exact(item) for item in found["install"]))

    def install_command(self, resolved: Path, site: Path) -> list[str]:
        """Put exactly the packages of `resolved` into `site`."""
        return [*self._install(), "--no-deps", "--requirement", str(resolved), "--target", str(site)]

    def offline(self, command: Sequence[str]) -> None:
        """None: pip has its index settings, and no other mode."""

    def has_built_in_vain(self, said: str) -> bool:  # noqa: ARG002
        """Never: it is not run without a network."""
        return False

    def uncached(self, command: Sequence[str]) -> list[str]:
        """The same command without the use of a cache."""
        return [*command, "--no-cache-dir"]

    def forget_command(self, packages: Sequence[str]) -> None:
        """None: pip keeps what it downloaded with its hash, and unpacks it anew."""

    def blames_cache(self, said: str) -> bool:
        """Whether pip may have failed because its cache is damaged."""
        return "BadZipFile" in said or "Wheel is invalid" in said

    def is_conflict(self, said: str) -> bool:
        """Whether pip found that the requirements, or they and the constraints, exclude each other."""
        return "ResolutionImpossible" in said or "have conflicting dependencies" in said

    def reason(self, said: str) -> str:
        """The last lines of what pip said, without those that tell of no error."""
        return telling(said, _CHATTER)

    def _install(self) -> list[str]:
        return [self.python, "-m", "pip", "install", "--quiet", "--progress-bar", "off"]


def _exact(item: dict[str, Any]) -> str:
    """One entry of the report (pip's "installation report", version 1)."""
    name, version = item["metadata"]["name"], item["metadata"]["version"]
    if not item["is_direct"]:
        return f"{name}=={version}"
    source = item["download_info"]
    url: str = source["url"]
    if commit := source.get("vcs_info"):
        url = f"{commit['vcs']}+{url}@{commit['commit_id']}"
    return f"{name} @ {url}"
