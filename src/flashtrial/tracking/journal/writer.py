"""The journal of one run in this process: opened with the record that opens or joins the run, renewed after a fork.

Failing to write must not end a training: what the disk does not take is counted and said. Standard library and
ormsgpack only.
"""

import importlib
import logging
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ormsgpack

from flashtrial.core import env
from flashtrial.core.ids import new_id
from flashtrial.protocol.records import JournalHeader, JsonValue, RecordKind
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.journal.facts import Role, journal_facts, server_of
from flashtrial.tracking.journal.handover import hand_over
from flashtrial.tracking.journal.outbox import Journal, OutboxFull, OutboxUnwritable, RecordTooLarge
from flashtrial.tracking.journal.sync_start import ensure_sync_process
from flashtrial.tracking.settings.limits import WhenFull
from flashtrial.tracking.settings.resolution import Courier, EffectiveSettings
from flashtrial.tracking.values import plain

logger = logging.getLogger(__name__)

SYNC_CHECK_EVERY_S = 5.0
ROOM_LOOK_EVERY_S = 0.25
JOINING: Mapping[str, JsonValue] = {"status": RunStatus.RUNNING.value}


class RunWriter:
    """Appends the records of one run. Threads may share it.

    `opening` is the body of the first state record and `opened_ms` its time. A child made by fork joins the run at its
    first record, with a journal of its own and a state record of the same old time, so that its coming late never
    opens a run again that its parent has finished.
    """

    def __init__(
        self, run_id: str, settings: EffectiveSettings, opening: Mapping[str, JsonValue], opened_ms: int | None = None
    ) -> None:
        self.run_id = run_id
        self.settings = settings
        self.opened_ms = _now_ms() if opened_ms is None else opened_ms
        self.lost = 0
        self._opening = opening
        self._server = server_of(settings)  # once: a fork's records go where its parent's do
        self._lock = threading.RLock()  # guards the making of the journal
        self._journal: Journal | None = None
        self._writer_id = ""
        self._next_check = 0.0
        self._is_said_removed = False

    @property
    def writer_id(self) -> str:
        """This process's writer; empty before its first record."""
        return self._writer_id

    @property
    def server(self) -> str | None:
        """The server of our kind that was meant when the run was opened, as `server_of` says it."""
        return self._server

    @property
    def last_seq(self) -> int:
        return self._journal.last_seq if self._journal else 0

    def open(self) -> None:
        """Create the journal with its opening record and see to it that somebody sends it.

        Raises `OutboxUnwritable`. Returns at once when it is open; never waits for the network.
        """
        with self._lock:
            if self._journal is None:
                self._journal = self._new_journal()
        self.see_to_sync()

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        """Write one record; on the disk when this returns, or counted in `lost` and said.

        Raises `JournalClosed`, and `TypeError` for a body that cannot be a record's.
        """
        time_ms = time.time_ns() // 1_000_000
        try:
            (self._journal or self._opened()).append(kind, body, time_ms)
        except ormsgpack.MsgpackEncodeError:  # a lone surrogate, a key that is no text, an integer of 65 bits
            self._append_mended(kind, body, time_ms)
        except OutboxFull as error:
            self._meet_the_limit(error, kind, body, time_ms)
        except (OutboxUnwritable, RecordTooLarge) as error:
            self.lose(error)
        if time.monotonic() >= self._next_check:
            self.see_to_sync()

    def see_to_sync(self) -> None:
        """Start the sync process (or thread) where there is none; also one that was killed is missed here."""
        self._next_check = time.monotonic() + SYNC_CHECK_EVERY_S
        self.is_removed()
        if self.settings.courier is Courier.WORKER:
            return
        environment = self.settings.sync_environment(env.snapshot())
        try:
            if self.settings.courier is Courier.THREAD:
                _ensure_sync_thread(self.settings.outbox, environment)
            elif ensure_sync_process(self.settings.outbox, environment) is None:
                self._hand_over_token()
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            logger.warning("no sync process: %s; records stay on the disk", error, extra={"action": "sync_not_started"})

    def is_removed(self) -> bool:
        """Whether somebody removed the journal under the run, and it could not be written again, as it is else."""
        try:
            if self._journal is not None and self._journal.revive():
                logger.warning(
                    "the journal of run %s was removed from %s while it is written; it was put back, but segments "
                    "before the last one, and files that waited for their upload, are gone unless they were sent",
                    self.run_id,
                    self.settings.outbox,
                    extra={"action": "journal_put_back"},
                )
        except OutboxUnwritable as error:
            if not self._is_said_removed:
                logger.error(
                    "the journal of run %s was removed while it is written, and what is logged is lost: %s",
                    self.run_id,
                    error,
                    extra={"action": "journal_removed"},
                )
            self._is_said_removed = True
            return True
        self._is_said_removed = False
        return False

    def _hand_over_token(self) -> None:
        """The sync process that runs may have been started by somebody with other settings."""
        if self.settings.token:
            hand_over(self.settings.outbox, self._server or "", self.settings.token, str(self.settings.home))

    def close(self) -> None:
        """This process writes nothing more to the run. Calling twice is safe."""
        if self._journal is not None:
            self._journal.close()

    def renew_after_fork(self) -> None:
        """In the child: forget the parent's journal and whatever locks its threads held."""
        self._lock = threading.RLock()
        if self._journal is not None:
            self._journal.abandon()
        self._journal = None
        self._writer_id = ""
        self._opening = JOINING
        self.lost = 0

    def _new_journal(self) -> Journal:
        writer_id = new_id("wr")
        header = JournalHeader(self.run_id, writer_id, self._facts())
        journal = Journal.create(self.settings.outbox, header, self.settings.limits)
        try:
            journal.append(RecordKind.STATE, self._opening, self.opened_ms)
        except BaseException:
            journal.close()
            raise
        self._writer_id = writer_id
        return journal

    def _opened(self) -> Journal:
        self.open()
        assert self._journal is not None
        return self._journal

    def _append_mended(self, kind: str, body: Mapping[str, Any], time_ms: int) -> None:
        mended = plain(body)
        assert isinstance(mended, dict)
        try:
            (self._journal or self._opened()).append(kind, mended, time_ms)
        except OutboxFull as error:
            self._meet_the_limit(error, kind, mended, time_ms)
        except (OutboxUnwritable, RecordTooLarge) as error:
            self.lose(error)

    def _meet_the_limit(self, error: OutboxFull, kind: str, body: Mapping[str, Any], time_ms: int) -> None:
        """Do with a record that the outbox has no room for what the settings say. Raises `OutboxFull` if they do."""
        match self.settings.limits.when_full:
            case WhenFull.RAISE:
                raise error
            case WhenFull.DROP:
                self.lose(error)
            case WhenFull.BLOCK:
                self._append_when_there_is_room(kind, body, time_ms)

    def _append_when_there_is_room(self, kind: str, body: Mapping[str, Any], time_ms: int) -> None:
        while True:
            self.see_to_sync()
            time.sleep(ROOM_LOOK_EVERY_S)
            try:
                (self._journal or self._opened()).append(kind, body, time_ms)
            except OutboxFull:
                continue
            except OutboxUnwritable as error:
                self.lose(error)
            return

    def lose(self, error: Exception) -> None:
        """Count something of the run that the disk did not take, and say it now and then."""
        self.lost += 1
        if self.lost & (self.lost - 1) == 0:  # the first, second, fourth, eighth …
            logger.error(
                "a record of run %s is lost (%d so far): %s",
                self.run_id,
                self.lost,
                error,
                extra={"action": "record_lost"},
            )

    def _facts(self) -> dict[str, JsonValue]:
        role = Role.JOINED if self._opening is JOINING else Role.GUEST if self._opening.get("guest") else Role.OWNER
        return {**journal_facts(self.settings, role), "url": self._server}


def _ensure_sync_thread(outbox: Path, environment: Mapping[str, str]) -> None:
    """As `ensure_sync_process`; what a thread needs is more than user processes should load, so it is loaded here."""
    importlib.import_module("flashtrial.tracking.sending.sync_thread").ensure_sync_thread(outbox, environment)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
