"""What an operator sets for installations, read from the environment once."""

from dataclasses import dataclass
from pathlib import Path

from flashtrial.core import env
from flashtrial.worker import variables
from flashtrial.worker.constants import INSTALL_DEADLINE_S, LAYERS_BYTES, SYSTEM_INSTALL_DEADLINE_S, VOLUME


@dataclass(frozen=True, slots=True)
class InstallSettings:
    """Deadlines, the disk budget of all layers, and the network volume, where there is one.

    `endpoint` names whose caches on the volume are ours; layers are shared between endpoints.
    """

    deadline_s: float = INSTALL_DEADLINE_S
    system_deadline_s: float = SYSTEM_INSTALL_DEADLINE_S
    layers_bytes: int = LAYERS_BYTES
    volume: Path | None = None
    endpoint: str = ""

    @classmethod
    def from_environment(cls) -> "InstallSettings":
        """The settings of this process. Raises `ConfigurationError` for a variable that is no number."""
        return cls(
            deadline_s=variables.INSTALL_DEADLINE.number(),
            system_deadline_s=variables.SYSTEM_INSTALL_DEADLINE.number(),
            layers_bytes=variables.LAYERS.whole(),
            volume=VOLUME if VOLUME.is_dir() else None,
            endpoint=env.get(env.ENDPOINT_ID),
        )
