"""What an operator sets for a worker, read from the environment once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flashtrial.core import env
from flashtrial.core.errors import ConfigurationError
from flashtrial.process.child import NO_LIMITS, CallLimits
from flashtrial.process.environment_use import KeepLimits
from flashtrial.process.memory import total_bytes
from flashtrial.worker.constants import NAMESPACE, VOLUME
from flashtrial.worker.gpu.policy import Placement
from flashtrial.worker.instances import InstanceLimits
from flashtrial.worker.loop.payload_limits import RUNPOD_LIMIT_BYTES, PayloadLimits
from flashtrial.worker.loop.volume_results import VolumeResults

DRAIN: Final = "FLASHTRIAL_DRAIN_S"
MAX_RESULT: Final = "FLASHTRIAL_MAX_RESULT_BYTES"
CALL_TIMEOUT: Final = "FLASHTRIAL_TIMEOUT_S"
CALL_MEMORY: Final = "FLASHTRIAL_CALL_MEMORY_BYTES"
MAX_INSTANCES: Final = "FLASHTRIAL_MAX_INSTANCES"
INSTANCE_IDLE: Final = "FLASHTRIAL_INSTANCE_IDLE_S"
INSTANCE_MEMORY: Final = "FLASHTRIAL_INSTANCE_MEMORY_BYTES"
ENVIRONMENT_IDLE: Final = "FLASHTRIAL_ENVIRONMENT_IDLE_S"
IDLE_ENVIRONMENTS: Final = "FLASHTRIAL_IDLE_ENVIRONMENTS"
_MEMORY_SHARE: Final = 0.8
DRAIN_S: Final = 20.0
JOB_SOURCE: Final = "RUNPOD_WEBHOOK_GET_JOB"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """`concurrency`: calls that run at once; `drain_s`: seconds from SIGTERM to the end; `volume`: None without one.

    `max_result_bytes` is None where no platform carries answers away. A variable set to 0 means no limit.
    """

    concurrency: int = 1
    drain_s: float = DRAIN_S
    max_result_bytes: int | None = None
    volume: Path | None = None
    call_limits: CallLimits = NO_LIMITS
    instance_limits: InstanceLimits = field(default_factory=InstanceLimits)
    keep_limits: KeepLimits = field(default_factory=KeepLimits)
    gpu_placement: Placement = Placement.UNMANAGED

    @classmethod
    def from_environment(cls) -> "WorkerSettings":
        """The settings of this process. Raises `ConfigurationError` for a variable that cannot be understood."""
        limit_bytes = env.whole(MAX_RESULT, RUNPOD_LIMIT_BYTES if env.get(JOB_SOURCE) else 0)
        return cls(
            concurrency=max(1, env.whole(env.CONCURRENCY, 1)),
            drain_s=env.number(DRAIN, DRAIN_S),
            max_result_bytes=limit_bytes or None,
            volume=VOLUME if VOLUME.is_dir() else None,
            call_limits=CallLimits(env.number(CALL_TIMEOUT, 0) or None, env.whole(CALL_MEMORY, 0) or None),
            instance_limits=InstanceLimits(
                max_count=env.whole(MAX_INSTANCES, InstanceLimits().max_count or 0) or None,
                idle_s=env.number(INSTANCE_IDLE, InstanceLimits().idle_s or 0) or None,
                memory_bytes=env.whole(INSTANCE_MEMORY, int(_MEMORY_SHARE * total_bytes())) or None,
            ),
            keep_limits=KeepLimits(
                idle_s=env.number(ENVIRONMENT_IDLE, KeepLimits().idle_s or 0) or None,
                max_idle=env.whole(IDLE_ENVIRONMENTS, KeepLimits().max_idle or 0),
            ),
            gpu_placement=_placement(),
        )

    def payload_limits(self) -> PayloadLimits:
        """What an answer may weigh, and where a result goes that weighs more."""
        store = None if self.volume is None else VolumeResults(self.volume / f".{NAMESPACE}" / "results")
        return PayloadLimits(self.max_result_bytes, store)


def _placement() -> Placement:
    text = env.get(env.GPU_PLACEMENT, Placement.UNMANAGED)
    if text not in tuple(Placement):
        raise ConfigurationError(f"{env.GPU_PLACEMENT}={text} is none of {', '.join(Placement)}")
    return Placement(text)
