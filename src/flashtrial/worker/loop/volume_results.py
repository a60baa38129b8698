"""Results that are too large for an answer, as files on the network volume, one per job, complete or absent."""

import hashlib
import re
from pathlib import Path

from flashtrial.core.files import ensure_private_dir, write_atomically
from flashtrial.worker.loop.payload_limits import ResultPlace

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


class VolumeResults:
    """Writes into `directory`, made where missing. For several threads; each blocks as long as the disk does."""

    name = "the volume"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, job_id: str, content: bytes) -> ResultPlace:
        """Store the result of `job_id`, in place of an earlier attempt's. Raises OSError."""
        path = ensure_private_dir(self._directory) / _file_name(job_id)
        write_atomically(path, content)
        return ResultPlace(path=str(path), bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _file_name(job_id: str) -> str:
    """The id itself where it is a plain name: ids come from outside, never a path of theirs."""
    if _PLAIN.fullmatch(job_id):
        return job_id
    return hashlib.sha256(job_id.encode("utf-8", "surrogatepass")).hexdigest()
