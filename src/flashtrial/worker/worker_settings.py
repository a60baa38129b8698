"""What an operator sets for a worker, read from the environment once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flashtrial.core import env
from flashtrial.core.errors import ConfigurationError
from flashtrial.process.child import NO_LIMITS, CallLimits
from flashtrial.process.environment_use import KeepLimits
from flashtrial.process.memory import total_bytes
from flashtrial.tracking.settings.address import address_from
from flashtrial.worker import variables
from flashtrial.worker.constants import NAMESPACE, VOLUME
from flashtrial.worker.gpu.policy import Placement
from flashtrial.worker.instances import InstanceLimits
from flashtrial.worker.loop.payload_limits import PayloadLimits, ResultStore
from flashtrial.worker.loop.server_results import ServerResults
from flashtrial.worker.loop.volume_results import VolumeResults

JOB_SOURCE: Final = "RUNPOD_WEBHOOK_GET_JOB"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """`concurrency`: calls that run at once; `drain_s`: seconds from SIGTERM to the end; `volume`: None without one.

    `max_result_bytes` is None where no platform carries answers away. A variable set to 0 means no limit.
    """

    concurrency: int = 1
    drain_s: float = variables.DRAIN_S
    max_result_bytes: int | None = None
    volume: Path | None = None
    call_limits: CallLimits = NO_LIMITS
    instance_limits: InstanceLimits = field(default_factory=InstanceLimits)
    keep_limits: KeepLimits = field(default_factory=KeepLimits)
    gpu_placement: Placement = Placement.UNMANAGED

    @classmethod
    def from_environment(cls) -> "WorkerSettings":
        """The settings of this process. Raises `ConfigurationError` for a variable that cannot be understood."""
        limit_bytes = variables.MAX_RESULT.whole(None if env.get(JOB_SOURCE) else 0)
        return cls(
            concurrency=max(1, variables.CONCURRENCY.whole()),
            drain_s=variables.DRAIN.number(),
            max_result_bytes=limit_bytes or None,
            volume=VOLUME if VOLUME.is_dir() else None,
            call_limits=CallLimits(variables.CALL_TIMEOUT.number() or None, variables.CALL_MEMORY.whole() or None),
            instance_limits=InstanceLimits(
                max_count=variables.MAX_INSTANCES.whole() or None,
                idle_s=variables.INSTANCE_IDLE.number() or None,
                memory_bytes=variables.INSTANCE_MEMORY.whole(int(variables.MEMORY_SHARE * total_bytes())) or None,
            ),
            keep_limits=KeepLimits(
                idle_s=variables.ENVIRONMENT_IDLE.number() or None,
                max_idle=variables.IDLE_ENVIRONMENTS.whole(),
            ),
            gpu_placement=_placement(),
        )

    def payload_limits(self) -> PayloadLimits:
        """What an answer may weigh, and where a result goes that weighs more."""
        return PayloadLimits(self.max_result_bytes, self._result_store())

    def _result_store(self) -> ResultStore | None:
        """The volume; without one the tracking server, where one was named."""
        if self.volume is not None:
            return VolumeResults(self.volume / f".{NAMESPACE}" / "results")
        if env.get(env.URL):
            return ServerResults(lambda: address_from(env.home(), env.snapshot()))
        return None


def _placement() -> Placement:
    text = env.get(env.GPU_PLACEMENT, Placement.UNMANAGED)
    if text not in tuple(Placement):
        raise ConfigurationError(f"{env.GPU_PLACEMENT}={text} is none of {', '.join(Placement)}")
    return Placement(text)
