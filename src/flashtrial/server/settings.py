"""What the server is told when it is built; nothing here changes while it runs."""

from dataclasses import dataclass, field
from pathlib import Path

from flashtrial.core import env
from flashtrial.protocol.records import MAX_FRAME_BYTES
from flashtrial.server.access.patience import BODY_PATIENCE_S
from flashtrial.server.control.desk import RECEIPT_WAIT_S
from flashtrial.server.events import MAX_LISTENERS
from flashtrial.server.files.limits import BlobLimits
from flashtrial.server.repository import SILENT_AFTER_S
from flashtrial.server.retention import RetentionRules
from flashtrial.server.storage.reserve import RESERVE_BYTES

REQUESTS_PER_S, REQUESTS_AT_ONCE = 200.0, 1000.0
STATIC_DIR = Path(__file__).parent / "static"
# One frame of the largest size must fit into a request, with its envelope.
MAX_BODY_BYTES = MAX_FRAME_BYTES + 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How one server behaves. `home` holds its database; what is not given is as `flashtrial up` has it on loopback.

    `allowed_hosts` are names beside localhost, 127.0.0.1 and [::1] under which requests may come (the bound host);
    `allowed_origins` are origins (``http://host:port``) beside our own. `token`, when set, is needed on ``/api``, or a
    token that it signed; each holder may then send `requests_per_s` in the long run (0: as many as it likes) and
    `requests_at_once`. A body takes at most `body_patience_s`, and a second more for each 4 KiB of it.
    A command's receipt is waited for `receipt_wait_s`. Pages of `dispatcher_origins` may use the dispatcher, beside
    those of local front ends. At most `max_streams` streams of events are open at once.
    A run of which no owner was heard for `silent_after_s` is interrupted; `retention` removes old runs, where it is on.
    With `access_log` each request is a line of the log.
    `reserve_bytes` are kept on the disk, so that runs can be removed once it is full.
    `mask_secrets` takes secrets out of configurations and printed lines before they are stored.
    """

    home: Path
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    static_dir: Path = STATIC_DIR
    max_body_bytes: int = MAX_BODY_BYTES
    requests_per_s: float = field(default_factory=lambda: env.number(env.REQUESTS_PER_S, REQUESTS_PER_S))
    requests_at_once: float = REQUESTS_AT_ONCE
    body_patience_s: float = BODY_PATIENCE_S
    receipt_wait_s: float = RECEIPT_WAIT_S
    dispatcher_origins: tuple[str, ...] = field(default_factory=lambda: env.listed(env.CORS_ALLOWED_ORIGINS))
    access_log: bool = False
    max_streams: int = MAX_LISTENERS
    blob_limits: BlobLimits = field(default_factory=lambda: BlobLimits.from_environment(env.snapshot()))
    silent_after_s: float = field(default_factory=lambda: env.number(env.SILENT_AFTER_S, SILENT_AFTER_S))
    mask_secrets: bool = field(default_factory=lambda: env.flag(env.MASK_SECRETS, default=True))
    reserve_bytes: int = RESERVE_BYTES
    retention: RetentionRules = field(default_factory=RetentionRules.from_env)

    @classmethod
    def from_env(cls) -> "ServerSettings":
        """The settings that the process environment asks for."""
        return cls(home=env.home(), token=env.get(env.TOKEN) or None)

    @property
    def db_path(self) -> Path:
        return database_of(self.home)

    @property
    def blobs_dir(self) -> Path:
        return self.home / "blobs"


def database_of(home: Path) -> Path:
    """Where the server of `home` keeps its data, whether it exists or not."""
    return home / "server.db"
