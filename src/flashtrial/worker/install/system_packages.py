"""Debian packages that a request names: what dpkg lacks is installed with apt-get. Changes the machine itself.

Large ones are downloaded with nala where it is there, many at a time. apt-get alone unpacks: only it knows
``--no-remove``, and a request must never take a package away.
"""

import asyncio
import logging
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence

from flashtrial.core import env
from flashtrial.process.subprocess_utils import (
    CommandError,
    CommandFailed,
    CommandNotFound,
    CommandTimedOut,
    run_logged_subprocess,
)
from flashtrial.worker.constants import LARGE_SYSTEM_PACKAGES, SYSTEM_INSTALL_DEADLINE_S
from flashtrial.worker.install.install_errors import InstallFailed, RequirementRefused

log = logging.getLogger(__name__)

# For apt-get, a name with a minus behind it is one to remove.
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]*[A-Za-z0-9.+~])?")
_QUERY_DEADLINE_S = 30.0
_REASON_LINES = 15


class SystemPackages:
    """What this machine's package manager has; one installation at a time in this process.

    `deadline_s` is for each run of the package manager.
    """

    def __init__(
        self,
        deadline_s: float = SYSTEM_INSTALL_DEADLINE_S,
        platform: str = sys.platform,
        is_root: bool | None = None,
    ) -> None:
        self._deadline_s = deadline_s
        self._platform = platform
        self._is_root = os.geteuid() == 0 if is_root is None else is_root
        self._present: set[str] = set()
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    @property
    def can_install(self) -> bool:
        """Whether it makes sense to ask: on other systems than Linux nothing is installed, nor by others than root."""
        return self._platform == "linux" and self._is_root

    async def ensure(self, names: Sequence[str], accelerate: bool = True) -> None:
        """Install those of `names` (``name[:architecture][=version]``) that are not installed. Cheap when repeated.

        On macOS they are skipped with a warning. Raises `RequirementRefused` for what is no package name, and
        `InstallFailed`.
        """
        for name in names:
            _refuse_unless_a_name(name)
        if set(names) <= self._present:
            return
        if self._platform != "linux":
            log.warning("system packages are not installed on %s: %s", self._platform, ", ".join(names))
            return
        async with self._lock_of_this_loop():
            lacking = [name for name in dict.fromkeys(names) if name not in self._present]
            await self._install(await _not_installed(lacking), accelerate)
            self._present.update(lacking)

    def _lock_of_this_loop(self) -> asyncio.Lock:
        """A process may serve from several event loops in turn, and a lock serves one."""
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = loop, asyncio.Lock()
        return self._lock[1]

    async def _install(self, names: Sequence[str], accelerate: bool) -> None:
        if not names:
            return
        if not self._is_root:
            raise InstallFailed(
                f"system packages {', '.join(names)} are missing, and only root can install them; "
                "run the worker as root, or use an image that has them"
            )
        log.info("installing system packages %s", ", ".join(names), extra={"action": "system_install_started"})
        if accelerate and any(map(_is_large, names)):
            await self._download_with_nala(names)
        try:
            await self._apt_get("install", names)
        except CommandFailed:
            # Container images come without lists of packages; old lists name versions that are gone.
            await self._apt_get_or_say_why("update", (), names)
            await self._apt_get_or_say_why("install", names, names)
        except CommandError as error:
            raise _failed(names, error) from error

    async def _download_with_nala(self, names: Sequence[str]) -> None:
        """Fetch the packages to where apt-get looks for them. Best effort: apt-get fetches what is lacking."""
        environment = _apt_environment()
        nala = shutil.which("nala", path=environment.get("PATH"))
        if nala is None:
            return
        options = ["-y", "--download-only", "--no-install-recommends", "--raw-dpkg"]
        try:
            await run_logged_subprocess(
                [nala, "install", *options, "--", *names], deadline_s=self._deadline_s, env=environment
            )
        except CommandError as error:
            log.warning("%s; downloading with apt-get", error, extra={"action": "nala_failed"})

    async def _apt_get_or_say_why(self, verb: str, arguments: Sequence[str], wanted: Sequence[str]) -> None:
        try:
            await self._apt_get(verb, arguments)
        except CommandError as error:
            raise _failed(wanted, error) from error

    async def _apt_get(self, verb: str, arguments: Sequence[str]) -> None:
        options = ["-y", "-q", "-o", "DPkg::Lock::Timeout=120"]
        if verb == "install":
            options += ["--no-install-recommends", "--no-remove", "--"]
        await run_logged_subprocess(
            ["apt-get", verb, *options, *arguments], deadline_s=self._deadline_s, env=_apt_environment()
        )


def _failed(wanted: Sequence[str], error: CommandError) -> InstallFailed:
    said = error.stderr if isinstance(error, CommandFailed | CommandTimedOut) else ""
    last = "\n".join(said.splitlines()[-_REASON_LINES:])
    return InstallFailed(f"could not install system packages {', '.join(wanted)}: {error}\n{last}".rstrip())


def _is_large(name: str) -> bool:
    return re.split("[:=]", name, maxsplit=1)[0] in LARGE_SYSTEM_PACKAGES


def _apt_environment() -> Mapping[str, str]:
    return {**env.without_secrets(env.snapshot()), "DEBIAN_FRONTEND": "noninteractive"}


def _refuse_unless_a_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise RequirementRefused(f"system dependency {name!r} refused: it is not the name of a Debian package")


async def _not_installed(names: Sequence[str]) -> list[str]:
    """Those of `names` that dpkg has not, or has in another version than asked for."""
    query = ["dpkg-query", "--show", "--showformat=${Package}\\t${Architecture}\\t${Version}\\t${db:Status-Status}\\n"]
    bare = [name.partition("=")[0] for name in names]
    try:
        said = (await run_logged_subprocess([*query, "--", *bare], deadline_s=_QUERY_DEADLINE_S)).stdout
    except CommandNotFound as error:
        raise InstallFailed(f"cannot install system packages {', '.join(names)}: this machine has no dpkg") from error
    except CommandFailed as error:  # it knows some of them not at all
        said = error.stdout
    except CommandTimedOut as error:
        raise _failed(names, error) from error
    present = {spelling for line in said.splitlines() for spelling in _spellings(line)}
    return [name for name in names if name not in present]


def _spellings(line: str) -> set[str]:
    """Every way to ask for the package in a line of dpkg-query that it meets; none when it is not installed."""
    name, architecture, version, status = line.split("\t")
    named = {name, f"{name}:{architecture}"} if status == "installed" else set()
    return named | {f"{one}={version}" for one in named}
