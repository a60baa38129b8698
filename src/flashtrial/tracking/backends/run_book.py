"""What a foreign destination calls our runs, on the disk: so that a run goes on where it was after a restart.

One small file per destination and run below a folder, complete or absent. Losing one loses no records: the destination
is asked then.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from flashtrial.core.files import ensure_private_dir, write_atomically


class RunBook:
    """The names of runs at one server; `folder` is made at the first entry. Used by one thread."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url

    def get(self, run_id: str) -> dict[str, Any] | None:
        """What was written down of a run at this server."""
        try:
            entry = json.loads(self._path(run_id).read_bytes())
        except (OSError, ValueError):
            return None
        match entry:
            case {"run_id": str(known), "url": str(url), "entry": dict(found)} if (known, url) == (run_id, self._url):
                return found
        return None

    def put(self, run_id: str, entry: dict[str, Any]) -> None:
        """Write it down, if the disk takes it: without it the destination is asked again."""
        content = json.dumps({"run_id": run_id, "url": self._url, "entry": entry}).encode()
        with contextlib.suppress(OSError):
            ensure_private_dir(self._folder)
            write_atomically(self._path(run_id), content)

    def drop(self, run_id: str) -> None:
        """Forget a run that is not there any more."""
        with contextlib.suppress(OSError):
            self._path(run_id).unlink(missing_ok=True)

    def _path(self, run_id: str) -> Path:
        return self._folder / f"{hashlib.sha256(f'{self._url} {run_id}'.encode()).hexdigest()[:32]}.json"
