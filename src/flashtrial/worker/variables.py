"""The environment variables that an operator may set for a worker: names, units, defaults, in one list.

``docs/reference-worker.md`` has the same list; a test holds the two equal.
"""

from dataclasses import dataclass
from typing import Final

from flashtrial.core import env
from flashtrial.process.environment_use import KeepLimits
from flashtrial.worker.constants import INSTALL_DEADLINE_S, LAYERS_BYTES, SYSTEM_INSTALL_DEADLINE_S
from flashtrial.worker.instances import InstanceLimits
from flashtrial.worker.loop.payload_limits import RUNPOD_LIMIT_BYTES

DRAIN_S: Final = 20.0
MEMORY_SHARE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Variable:
    """One number of 0 or more. `shown` is what the reference says of the default, where that depends on more."""

    name: str
    default: float
    unit: str
    meaning: str
    shown: str | None = None

    def number(self, default: float | None = None) -> float:
        """What is set, else `default`, else the variable's own. Raises `ConfigurationError`."""
        return env.number(self.name, self.default if default is None else default)

    def whole(self, default: int | None = None) -> int:
        """`number`, less what is behind the point."""
        return int(self.number(default))

    @property
    def default_text(self) -> str:
        return self.shown or f"{self.default:,.15g}"


CONCURRENCY: Final = Variable(env.CONCURRENCY, 1, "calls", "Calls that run at once; constant for the process.")
DRAIN: Final = Variable(
    "FLASHTRIAL_DRAIN_S", DRAIN_S, "seconds", "From SIGTERM to the end of the process; what still runs is ended before."
)
MAX_RESULT: Final = Variable(
    "FLASHTRIAL_MAX_RESULT_BYTES",
    RUNPOD_LIMIT_BYTES,
    "bytes",
    "The largest answer; larger results go to the network volume. 0: no limit.",
    f"{RUNPOD_LIMIT_BYTES:,} on RunPod, else no limit",
)
CALL_TIMEOUT: Final = Variable(
    "FLASHTRIAL_TIMEOUT_S", 0, "seconds", "For calls that bring no `timeout_s` of their own.", "no limit"
)
CALL_MEMORY: Final = Variable(
    "FLASHTRIAL_CALL_MEMORY_BYTES", 0, "bytes", "Resident memory of the process of one call.", "no limit"
)
MAX_INSTANCES: Final = Variable(
    "FLASHTRIAL_MAX_INSTANCES",
    InstanceLimits().max_count or 0,
    "instances",
    "Class instances that are kept; the least recently used idle one makes room. 0: no limit.",
)
INSTANCE_IDLE: Final = Variable(
    "FLASHTRIAL_INSTANCE_IDLE_S",
    InstanceLimits().idle_s or 0,
    "seconds",
    "After which an instance that nobody uses goes. 0: never.",
)
INSTANCE_MEMORY: Final = Variable(
    "FLASHTRIAL_INSTANCE_MEMORY_BYTES",
    0,
    "bytes",
    "Memory of all instances together. 0: no limit.",
    f"{MEMORY_SHARE:.0%} of the machine's or container's",
)
ENVIRONMENT_IDLE: Final = Variable(
    "FLASHTRIAL_ENVIRONMENT_IDLE_S",
    KeepLimits().idle_s or 0,
    "seconds",
    "After which processes kept ready for a set of dependencies that nobody uses go. 0: never.",
)
IDLE_ENVIRONMENTS: Final = Variable(
    "FLASHTRIAL_IDLE_ENVIRONMENTS",
    KeepLimits().max_idle or 0,
    "sets of dependencies",
    "For which processes are kept ready while nobody uses them.",
)
LAYERS: Final = Variable(
    env.LAYERS_BYTES, LAYERS_BYTES, "bytes", "Disk for installed dependencies; the least recently used unused ones go."
)
INSTALL_DEADLINE: Final = Variable(
    env.INSTALL_DEADLINE_S, INSTALL_DEADLINE_S, "seconds", "For installing one set of dependencies."
)
SYSTEM_INSTALL_DEADLINE: Final = Variable(
    env.SYSTEM_INSTALL_DEADLINE_S,
    SYSTEM_INSTALL_DEADLINE_S,
    "seconds",
    "For one run of apt-get or nala.",
)
NUMBERS: Final = (
    CONCURRENCY,
    DRAIN,
    MAX_RESULT,
    CALL_TIMEOUT,
    CALL_MEMORY,
    MAX_INSTANCES,
    INSTANCE_IDLE,
    INSTANCE_MEMORY,
    ENVIRONMENT_IDLE,
    IDLE_ENVIRONMENTS,
    LAYERS,
    INSTALL_DEADLINE,
    SYSTEM_INSTALL_DEADLINE,
)
