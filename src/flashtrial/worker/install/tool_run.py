"""Commands of one installer for one layer: with a deadline for all of them, and on when the cache is damaged."""

import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path

from flashtrial.core import env
from flashtrial.process.subprocess_utils import CommandError, CommandFailed, CompletedCommand, run_logged_subprocess
from flashtrial.worker.install.package_tool import PackageTool

log = logging.getLogger(__name__)

CACHE_DAMAGED = {"action": "cache_damaged"}

_KEPT_BYTES = 4 * 1024 * 1024  # the list of what to install must not be cut
_NAME = re.compile(r"[^\w.-]")  # a requirement begins with its name
_FORGET_DEADLINE_S = 10.0  # uv waits there for all that use its cache


class ToolRun:
    """A tool in `beside`, which is its caller's directory; `deadline` (monotonic) is for all its runs together."""

    def __init__(self, beside: Path, tool: PackageTool, cache: Path, deadline: float) -> None:
        self.beside = beside
        self.tool = tool
        self._deadline = deadline
        self._environment = tool.environment(env.without_secrets(env.snapshot()), cache, beside)
        self.cache = Path(self._environment.get("UV_CACHE_DIR", cache))

    async def __call__(self, command: Sequence[str], deadline_s: float | None = None) -> CompletedCommand:
        left_s = max(self._deadline - time.monotonic(), 0)
        return await run_logged_subprocess(
            command,
            deadline_s=left_s if deadline_s is None else min(left_s, deadline_s),
            env=self._environment,
            cwd=self.beside,
            kept_bytes=_KEPT_BYTES,
        )

    async def from_cache_first(self, command: Sequence[str], packages: Sequence[str]) -> CompletedCommand:
        """As `despite_cache`, but no index is asked when the cache has all that is needed.

        For exact versions only: of others the newest is wanted, and only the index knows it.
        """
        if offline := self.tool.offline(command):
            try:
                return await self(offline)
            except CommandFailed as error:
                if self.tool.has_built_in_vain(error.stderr):
                    raise
        return await self.despite_cache(command, packages)

    async def despite_cache(self, command: Sequence[str], packages: Sequence[str]) -> CompletedCommand:
        """Run `command`, which concerns `packages`, and, should it fail over its cache, once more without."""
        try:
            return await self(command)
        except CommandFailed as error:
            if not self.tool.blames_cache(error.stderr):
                raise
            log.warning("%s's cache may be damaged; doing without", self.tool.name, extra=CACHE_DAMAGED)
            await self.forget(packages)
            return await self(self.tool.uncached(command))

    async def forget(self, packages: Sequence[str]) -> None:
        """Take packages whose files are damaged out of the cache; best effort."""
        command = self.tool.forget_command([_NAME.split(package, 1)[0] for package in packages])
        if command:
            try:
                await self(command, _FORGET_DEADLINE_S)
            except CommandError as error:
                log.warning("could not take damaged packages out of the cache: %s", error, extra=CACHE_DAMAGED)

    def listed(self, name: str, lines: Sequence[str]) -> Path:
        """A file of that name with those lines, for a command to read."""
        path = self.beside / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path
