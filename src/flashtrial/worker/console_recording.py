"""The console of one call as records of a run; `run_consoles` has the rest, and the thread that all this runs in."""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from flashtrial.core import env
from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.records import RecordKind
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.capture.masking import Masks
from flashtrial.tracking.capture.recorder import ConsoleRecorder
from flashtrial.tracking.journal.writer import JOINING, RunWriter
from flashtrial.tracking.settings.resolution import Courier, EffectiveSettings

_STREAM: Final = "stdout"  # a call has one pipe for both: their order counts for more
_GUEST: Final = {"guest": True}  # the run neither begins nor ends with what is printed


class Recording:
    """A writer for the run that the call touched last; one at a time."""

    def __init__(self, outbox: Path, worker_id: str) -> None:
        self._outbox = outbox
        self._worker_id = worker_id
        self._writer: RunWriter | None = None
        self._recorder: ConsoleRecorder | None = None
        self._masks = Masks()

    def learn(self, secrets: Iterable[str]) -> None:
        """These are masked in what is fed from now on, whatever run it is of."""
        self._masks.learn(secrets)

    def begin(self, run_id: str) -> None:
        """What comes from now on is of this run."""
        self.end()
        now_ms = time.time_ns() // 1_000_000
        self._writer = RunWriter(run_id, self._settings(), {**JOINING, **_GUEST}, now_ms)
        self._recorder = ConsoleRecorder(self._append, self._masks)

    def feed(self, data: bytes) -> None:
        """What was printed; nothing while there is no run."""
        if self._recorder is not None and data:
            self._recorder.feed(_STREAM, data)

    def settle(self) -> None:
        """Some time went by."""
        if self._recorder is not None:
            self._recorder.settle()

    def end(self) -> None:
        """Nothing more comes for this run. Safe to call twice."""
        if self._recorder is None or self._writer is None:
            return
        self._recorder.flush()
        if self._writer.last_seq:  # nothing was printed, and nobody joined
            self._append(RecordKind.STATE.value, {"status": RunStatus.FINISHED.value, **_GUEST})
        self._writer.close()
        self._writer = self._recorder = None

    def _append(self, kind: str, body: dict[str, Any]) -> None:
        assert self._writer is not None
        with contextlib.suppress(FlashtrialError):  # the writer counts and says what the disk does not take
            self._writer.append(kind, body)

    def _settings(self) -> EffectiveSettings:
        return EffectiveSettings(
            project="",
            url=env.get(env.URL) or None,
            token=None,
            home=env.home(),
            outbox=self._outbox,
            courier=Courier.WORKER,
            finish_timeout_s=0.0,
            worker_id=self._worker_id,
        )
