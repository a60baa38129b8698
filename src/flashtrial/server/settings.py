"""What the server is told when it is built; nothing here changes while it runs."""

from dataclasses import dataclass, field
from pathlib import Path

from flashtrial.core import env
from flashtrial.protocol.records import MAX_FRAME_BYTES
from flashtrial.server.files.limits import BlobLimits

STATIC_DIR = Path(__file__).parent / "static"
# One frame of the largest size must fit into a request, with its envelope.
MAX_BODY_BYTES = MAX_FRAME_BYTES + 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How one server behaves. `home` holds its database; what is not given is as `flashtrial up` has it on loopback.

    `allowed_hosts` are names beside localhost, 127.0.0.1 and [::1] under which requests may come (the bound host);
    `allowed_origins` are origins (``http://host:port``) beside our own. `token`, when set, is needed on ``/api``.
    """

    home: Path
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    static_dir: Path = STATIC_DIR
    max_body_bytes: int = MAX_BODY_BYTES
    blob_limits: BlobLimits = field(default_factory=BlobLimits)

    @classmethod
    def from_env(cls) -> "ServerSettings":
        """The settings that the process environment asks for."""
        limits = BlobLimits.from_environment(env.snapshot())
        return cls(home=env.home(), token=env.get(env.TOKEN) or None, blob_limits=limits)

    @property
    def db_path(self) -> Path:
        return database_of(self.home)

    @property
    def blobs_dir(self) -> Path:
        return self.home / "blobs"


def database_of(home: Path) -> Path:
    """Where the server of `home` keeps its data, whether it exists or not."""
    return home / "server.db"
