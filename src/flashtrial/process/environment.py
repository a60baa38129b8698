"""What a child can import besides the base: a list of layer directories, complete or absent."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Environment:
    """Directories that go in front of `sys.path`, under a key that two equal environments share.

    `packages` names what the layers hold, for people and logs.
    """

    key: str
    paths: tuple[Path, ...] = ()
    packages: tuple[str, ...] = ()

    @property
    def path_strings(self) -> tuple[str, ...]:
        return tuple(str(path) for path in self.paths)


BASE = Environment(key="base")
