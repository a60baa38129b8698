"""What a layer is built with: uv, or the pip of the worker's interpreter. The same plan gives the same layer."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class PackageTool(Protocol):
    """How an installer is called, and how what it says is read. Runs nothing."""

    @property
    def name(self) -> str:
        """As it is called in messages."""
        ...

    @property
    def adds_to_site(self) -> bool:
        """Whether it can install into a directory in which there are packages already, and leave those alone."""
        ...

    def environment(self, given: Mapping[str, str], cache: Path, target: Path) -> dict[str, str]:
        """`given`, made fit for this tool; `cache` is the worker's own directory for it, used where none is set."""
        ...

    def resolve_command(self, requirements: Path, constraints: Path, report: Path) -> list[str]:
        """Say what would have to be installed over the base to meet `requirements` within `constraints`."""
        ...

    def resolved(self, said: str, report: Path) -> tuple[str, ...]:
        """The exact requirements that the command above found; `said` is its standard error."""
        ...

    def install_command(self, resolved: Path, site: Path) -> list[str]:
        """Put exactly the packages of `resolved` into `site`."""
        ...

    def offline(self, command: Sequence[str]) -> list[str] | None:
        """The same command without the network; None where the tool has no such mode."""
        ...

    def has_built_in_vain(self, said: str) -> bool:
        """Whether it failed over a build for which it had all it needed: with a network it would fail as well."""
        ...

    def uncached(self, command: Sequence[str]) -> list[str]:
        """The same command without the use of a cache."""
        ...

    def forget_command(self, packages: Sequence[str]) -> list[str] | None:
        """Take `packages` (names) out of the cache; None where the tool needs no help with that."""
        ...

    def blames_cache(self, said: str) -> bool:
        """Whether it may have failed because its cache is damaged."""
        ...

    def is_conflict(self, said: str) -> bool:
        """Whether the requirements, or they and the constraints, exclude each other."""
        ...

    def reason(self, said: str) -> str:
        """The last lines of what it said, without those that tell of no error."""
        ...


def telling(said: str, chatter: re.Pattern[str], lines: int = 20) -> str:
    """The last `lines` of `said` that `chatter` does not match."""
    return "\n".join([line.rstrip() for line in said.splitlines() if not chatter.match(line)][-lines:])
