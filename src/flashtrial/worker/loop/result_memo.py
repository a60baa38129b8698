"""Answers of jobs that ended in this process, for those that a platform delivers again."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MOST_ANSWERS: Final = 256
MOST_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    is_failure: bool


class ResultMemo:
    """The last answers by job id, as they were sent; the oldest go first. Not for several threads.

    A failure is kept only until the platform has it: from then on the same id comes because somebody asked for a retry.
    """

    def __init__(self, most_answers: int = MOST_ANSWERS, most_bytes: int = MOST_BYTES) -> None:
        self._most_answers = most_answers
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def get(self, job_id: str) -> bytes | None:
        """The answer that this job was given, None when it is not (or no longer) known."""
        kept = self._kept.get(job_id)
        return kept.body if kept else None

    def keep(self, job_id: str, body: bytes, *, is_failure: bool) -> None:
        """Remember the answer, as far as there is room."""
        self._forget(job_id)
        self._kept[job_id] = _Kept(body, is_failure)
        self._bytes += len(body)
        while len(self._kept) > self._most_answers or self._bytes > self._most_bytes:
            self._forget(next(iter(self._kept)))

    def was_delivered(self, job_id: str) -> None:
        """The platform has the answer."""
        kept = self._kept.get(job_id)
        if kept is not None and kept.is_failure:
            self._forget(job_id)

    def _forget(self, job_id: str) -> None:
        kept = self._kept.pop(job_id, None)
        if kept is not None:
            self._bytes -= len(kept.body)
