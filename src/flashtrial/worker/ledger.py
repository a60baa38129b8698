"""Which worker holds which instance, so that a counter never silently starts again.

A queue has no affinity: a request for an instance may reach a worker that never saw it, or come after its worker died.
The ledger remembers the first holder of each instance id, for all workers of one endpoint.
"""

import hashlib
import os
import secrets
from pathlib import Path
from typing import Protocol

from flashtrial.core.files import ensure_private_dir, write_atomically


class InstanceLedger(Protocol):
    """Who took an instance first. Every method may be called from several workers at once."""

    def claim(self, instance_id: str) -> str:
        """The worker that holds `instance_id`: this one when nobody held it before."""
        ...

    def take_over(self, instance_id: str) -> None:
        """Make this worker the holder, whoever was."""
        ...

    def release(self, instance_id: str) -> None:
        """Forget the instance: it was never made."""
        ...


class MemoryLedger:
    """For a worker without an endpoint: nobody else could hold anything."""

    def __init__(self, worker_id: str) -> None:
        self._worker_id = worker_id

    def claim(self, instance_id: str) -> str:  # noqa: ARG002 - the protocol's
        return self._worker_id

    def take_over(self, instance_id: str) -> None:
        """Nobody to take it from."""

    def release(self, instance_id: str) -> None:
        """Nothing is remembered."""


class FileLedger:
    """One small file per instance in a directory that the workers of an endpoint share; whoever makes it, holds it."""

    def __init__(self, directory: Path, worker_id: str) -> None:
        self._directory = directory
        self._worker_id = worker_id

    def claim(self, instance_id: str) -> str:
        path = self._path(instance_id)
        ensure_private_dir(self._directory)
        # linked, not created: the file has its content from the moment its name exists
        beside = self._directory / f".{secrets.token_hex(8)}"
        beside.write_text(self._worker_id)
        try:
            os.link(beside, path)
        except FileExistsError:
            return path.read_text()
        finally:
            beside.unlink()
        return self._worker_id

    def take_over(self, instance_id: str) -> None:
        ensure_private_dir(self._directory)
        write_atomically(self._path(instance_id), self._worker_id.encode())

    def release(self, instance_id: str) -> None:
        self._path(instance_id).unlink(missing_ok=True)

    def _path(self, instance_id: str) -> Path:
        # ids come from outside: never a path of theirs
        return self._directory / hashlib.sha256(instance_id.encode("utf-8", "surrogatepass")).hexdigest()
