"""How much a server keeps of files, and what it says when somebody wants more. Sizes are bytes."""

from collections.abc import Mapping
from dataclasses import dataclass

from flashtrial.core import env
from flashtrial.core.errors import ConfigurationError

GIB = 1024**3
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class BlobLimits:
    """At most `file_bytes` for one blob, `run_bytes` for the blobs of a run, `total_bytes` for all of them.

    One chunk of an upload has at most `chunk_bytes`. No blob is taken that would leave less than `reserve_bytes` free
    on the disk, where the database needs room too.
    """

    file_bytes: int = 64 * GIB
    run_bytes: int = 1024 * GIB
    total_bytes: int = 4096 * GIB
    chunk_bytes: int = 8 * MIB
    reserve_bytes: int = 256 * MIB

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "BlobLimits":
        """The limits that variables ask for, the rest by default. Raises `ConfigurationError`."""
        said = {field: _whole(name, environment[name]) for field, name in _VARIABLES.items() if environment.get(name)}
        return cls(**said)


_VARIABLES = {
    "file_bytes": env.MAX_FILE_BYTES,
    "run_bytes": env.MAX_RUN_BYTES,
    "total_bytes": env.MAX_TOTAL_BYTES,
}


def _whole(name: str, value: str) -> int:
    if not value.isdecimal():
        raise ConfigurationError(f"{name} is a number of bytes, not {value!r:.60}")
    return int(value)
