"""What `flashtrial up` was asked for, and who may then come."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flashtrial.core import env

GRACE_S = 5
KEEP_ALIVE_S = 5
_LOOPBACK = frozenset({"localhost", "::1"})

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What `flashtrial up` was asked for; `workers` bounds the worker processes of each endpoint.

    `dispatcher_port` is a second one, with the dispatcher alone. `allowed_hosts` are names under which a proxy forwards
    to us. With `tls_cert` and `tls_key`, PEM files, `port` speaks TLS alone. A request that is being answered at the
    end is waited for `grace_s`, an idle connection is closed after `keep_alive_s`.
    """

    host: str = "127.0.0.1"
    port: int = env.DEFAULT_PORT
    workers: int = 4
    runpod: bool = True
    dispatcher_port: int | None = None
    allowed_hosts: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log_level: str | None = None
    access_log: bool = False
    grace_s: int = GRACE_S
    keep_alive_s: int = KEEP_ALIVE_S

    @property
    def is_for_others(self) -> bool:
        """Whether others than this machine's programs are meant to come, who then need a token."""
        return not is_loopback(self.host) or bool(self.allowed_hosts)

    def arguments(self) -> list[str]:
        """The command line that says the same."""
        asked = ["--host", self.host, "--port", str(self.port), "--workers", str(self.workers)]
        asked += [word for name in self.allowed_hosts for word in ("--allowed-host", name)]
        given = {
            "--dispatcher-port": self.dispatcher_port,
            "--tls-cert": self.tls_cert and self.tls_cert.absolute(),
            "--tls-key": self.tls_key and self.tls_key.absolute(),
            "--log-level": self.log_level,
            "--grace": None if self.grace_s == GRACE_S else self.grace_s,
            "--keep-alive": None if self.keep_alive_s == KEEP_ALIVE_S else self.keep_alive_s,
        }
        asked += [str(word) for option, value in given.items() if value is not None for word in (option, value)]
        flags = {"--no-runpod": not self.runpod, "--access-log": self.access_log}
        return asked + [flag for flag, is_set in flags.items() if is_set]


def say_who_may_come(host: str, port: int, say: Say, *, scheme: str = "http") -> None:
    """Off loopback, tell the address for other machines and where the token is that they need."""
    if not is_loopback(host):
        say(
            f"other machines reach it as {scheme}://{socket.gethostname()}:{port}; its API needs the token that "
            "`flashtrial env` prints as FLASHTRIAL_TOKEN"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a socket bound to `host`."""
    return host in _LOOPBACK or host.startswith("127.")
