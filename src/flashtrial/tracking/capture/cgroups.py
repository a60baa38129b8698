"""What this process's container may use and does use of CPU and memory, as its control groups say; Linux.

In a container the machine's figures mislead: 8 GiB may be all there is on a machine of a terabyte. Version 2 of control
groups and version 1 are read. A process finds its group in /proc/self/cgroup; inside a container the root of the mount
is mostly its own group. Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")

_NO_LIMIT_FROM: Final = 1 << 60  # what version 1 writes for no limit is the largest multiple of a page


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes: `limit_bytes` is what the container may use, `used_bytes` what it does, less caches of files."""

    used_bytes: int
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The control groups of one process; both arguments are for tests."""

    root: Path = ROOT
    membership: Path = MEMBERSHIP

    def memory(self) -> MemoryUse | None:
        """The tightest memory limit that holds, with its use; None where there is none."""
        found = [use for group in self._groups("memory") if (use := _memory_of(group)) is not None]
        return min(found, key=lambda use: use.limit_bytes, default=None)

    def cpu_limit(self) -> float | None:
        """How many CPUs the quota lets run at once, in all; None where there is no quota."""
        return min((quota for _, quota in self._quotas()), default=None)

    def cpu_seconds(self) -> float | None:
        """CPU time that the container under the tightest quota has used; None where there is no quota."""
        tightest = min(self._quotas(), key=lambda each: each[1], default=None)
        return None if tightest is None else _cpu_seconds_of(tightest[0])

    def _quotas(self) -> Iterator[tuple[Path, float]]:
        for group in self._groups("cpu"):
            quota = _quota_of(group)
            if quota is not None:
                yield group, quota

    def _groups(self, controller: str) -> Iterator[Path]:
        """The process's group for `controller` and those above it, of both versions, as far as they are to be seen."""
        for mount, path in self._places(controller):
            group = mount / path.lstrip("/")
            yield from [place for place in (group, *group.parents) if place.is_relative_to(mount) and place.is_dir()]

    def _places(self, controller: str) -> Iterator[tuple[Path, str]]:
        for line in _text(self.membership).splitlines():
            _number, controllers, path = line.split(":", 2)
            if controllers == "":
                yield self.root, path
            elif controller in controllers.split(","):
                yield self.root / controller, path
                yield self.root / controllers, path


def _memory_of(group: Path) -> MemoryUse | None:
    for limit_name, use_name, cache_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _number(group / limit_name), _number(group / use_name)
        if limit is not None and used is not None and limit < _NO_LIMIT_FROM:
            return MemoryUse(max(used - _field(group / "memory.stat", cache_name), 0), limit)
    return None


def _quota_of(group: Path) -> float | None:
    words = _text(group / "cpu.max").split()
    if len(words) == 2 and words[0] != "max":
        return int(words[0]) / int(words[1])
    quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota / period if quota is not None and period and quota > 0 else None


def _cpu_seconds_of(group: Path) -> float | None:
    if (group / "cpu.stat").exists() and (microseconds := _field(group / "cpu.stat", "usage_usec")):
        return microseconds / 1e6
    for place in (group, *(Path(str(group).replace("/cpu/", f"/{name}/")) for name in ("cpuacct", "cpu,cpuacct"))):
        nanoseconds = _number(place / "cpuacct.usage")
        if nanoseconds is not None:
            return nanoseconds / 1e9
    return None


def _field(path: Path, name: str) -> int:
    """The number after `name` in a file of such lines; 0 where there is none."""
    for line in _text(path).splitlines():
        if line.startswith(f"{name} "):
            return int(line.split()[1])
    return 0


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:  # "max", or no such file
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
