"""Requests to make a run that came twice because no answer arrived: by their bytes, until the run is used.

A client uses a run only after it got the answer. So the same bytes again, while nobody has used what they made, are the
same request; once somebody has, they are another one. In memory: over a restart a repeated request makes another run.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

MOST = 1024


class FreshRuns:
    """Runs that were made and not used yet. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two maps
        self._by_body: OrderedDict[bytes, str] = OrderedDict()
        self._bodies: dict[str, bytes] = {}

    def id_for(self, body: bytes, make: Callable[[], str]) -> str:
        """The id that these bytes got, else a new one."""
        digest = hashlib.sha256(body).digest()
        with self._lock:
            if digest not in self._by_body:
                run_id = make()
                self._by_body[digest] = run_id
                self._bodies[run_id] = digest
                if len(self._by_body) > MOST:
                    _, oldest = self._by_body.popitem(last=False)
                    del self._bodies[oldest]
            return self._by_body[digest]

    def used(self, run_id: str) -> None:
        """Somebody asked for the run, or wrote to it."""
        with self._lock:
            if (digest := self._bodies.pop(run_id, None)) is not None:
                del self._by_body[digest]
