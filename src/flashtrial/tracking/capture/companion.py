"""The run's side of its companion process: starts it, leads the console through it, and takes the console back.

::

    init ── start process ── say what there is to do ── lead descriptors 1 and 2 through channels
    finish ── flush ── give the descriptors back ── "finish" ▶ … ◀ "done": all that was written is recorded

The companion may die: this side keeps the read ends as well, so that no write ever fails for it; a thread that waits on
the socket gives the descriptors back and passes on what was left. Runs in user processes: standard library only.
"""

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Sequence
from typing import Final

from flashtrial.core import env
from flashtrial.tracking.capture import assignment
from flashtrial.tracking.capture.assignment import Assignment, Piped
from flashtrial.tracking.capture.redirection import Channel, flush, open_channels, write_all
from flashtrial.tracking.capture.run_parts import PartHost
from flashtrial.tracking.capture.subject import Subject
from flashtrial.tracking.journal.sync_start import start_detached
from flashtrial.tracking.settings.ranks import rank_label
from flashtrial.tracking.settings.resolution import Courier

logger = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 64 * 1024
_MOST_CHUNKS_AHEAD: Final = 64  # four times what a channel holds: a program that floods is not waited for
_MARGIN_S: Final = 0.1


class Companion:
    """Implements `RunPart`."""

    def __init__(self, *, console: bool, facts: bool) -> None:
        self._console = console
        self._facts = facts
        self._run: PartHost | None = None
        self._control: socket.socket | None = None
        self._channels: list[Channel] = []
        self._watcher: threading.Thread | None = None
        self._is_done = threading.Event()

    def start(self, run: PartHost) -> None:
        """Raises OSError, when no process can be started; then nothing is led elsewhere."""
        self._run = run
        subject = Subject.of_this_process(run.masks) if self._facts and run.is_owner else None
        channels = open_channels() if self._console else []
        if subject is None and not channels:
            return
        control, theirs = socket.socketpair()
        try:
            with theirs:
                assignment.send(control, _assignment(run, channels, subject))
                _start_process(run, theirs, channels)
            self._take_over(control, channels)
            run.masks.tell(self._tell_of_secrets)
        except BaseException:
            control.close()
            for channel in channels:
                channel.close()
                os.close(channel.write_end)
            raise

    def close(self, deadline_s: float) -> None:
        control, self._control = self._control, None
        if control is None:
            return
        if self._channels:
            flush()
        for channel in self._channels:
            channel.give_back()
        with contextlib.suppress(OSError):  # the companion is gone, or has all it wants
            control.sendall(b"\n" + assignment.FINISH)  # a line of its own, whatever was sent before it
        self._is_done.wait(max(deadline_s - _MARGIN_S, 0.0))
        with contextlib.suppress(OSError):
            control.shutdown(socket.SHUT_RDWR)  # the watcher ends, and closes what is left
        if self._watcher is not None:
            self._watcher.join(_MARGIN_S)

    def renew_after_fork(self) -> None:
        """Descriptors 1 and 2 stay where they lead: what the child prints is the run's console as well."""
        control, self._control = self._control, None
        if control is not None:
            control.close()
        for channel in self._channels:
            with contextlib.suppress(OSError):  # the parent's watcher was closing them
                channel.close()
        self._channels = []
        self._watcher = None

    def _tell_of_secrets(self, secrets: Sequence[str]) -> None:
        """Before anybody can print them: the companion looks here whenever it has read of a channel."""
        control = self._control
        if control is not None:
            with contextlib.suppress(OSError):  # it is gone, or so slow that nothing is kept up with
                for message in assignment.mask_messages(secrets):
                    control.send(message, socket.MSG_DONTWAIT)

    def _take_over(self, control: socket.socket, channels: list[Channel]) -> None:
        self._watcher = threading.Thread(
            target=self._watch, args=(control, channels), name="flashtrial-console", daemon=True
        )
        self._control, self._channels = control, channels
        self._watcher.start()
        if channels:
            flush()
        for channel in channels:
            channel.lead()

    def _watch(self, control: socket.socket, channels: list[Channel]) -> None:
        """Until the socket ends: because the run is over, or with the companion's death."""
        said = b""
        while more := _received(control):
            *messages, said = (said + more).split(b"\n")
            for message in messages:
                self._hear(message.decode("ascii").split(), channels)
        if not self._is_done.is_set() and self._control is not None:
            _rescue(channels)
        self._is_done.set()
        self._channels = []
        for channel in channels:
            channel.close()
        control.close()

    def _hear(self, message: list[str], channels: list[Channel]) -> None:
        match message:
            case ["done", writer_id, last_seq]:
                if self._run is not None and int(last_seq):
                    self._run.also_wait_for(writer_id, int(last_seq))
                self._is_done.set()
            case ["broken", number]:  # so that the next write fails as it would have without us
                channels[int(number)].give_back()


def _assignment(run: PartHost, channels: list[Channel], subject: Subject | None) -> Assignment:
    label = rank_label(env.snapshot())
    settings = run.settings
    return Assignment(
        run_id=run.id,
        outbox=os.fsencode(settings.outbox),
        opened_ms=time.time_ns() // 1_000_000,
        sends=settings.courier is Courier.PROCESS,
        prefix=f"[{label}] " if label else "",
        streams=tuple(Piped(channel.stream, channel.read_end, channel.original) for channel in channels),
        subject=subject,
        backends=settings.backends,
        outbox_bytes=settings.limits.outbox_bytes,
        segment_bytes=settings.limits.segment_bytes,
        when_full=settings.limits.when_full.value,
        secrets=assignment.told_at_once(run.masks.learned),
    )


def _start_process(run: PartHost, theirs: socket.socket, channels: list[Channel]) -> None:
    ends = [end for channel in channels for end in (channel.read_end, channel.original)]
    start_detached(
        "flashtrial.tracking.capture.companion_main",
        [str(theirs.fileno())],
        run.settings.sync_environment(env.snapshot()),
        "companion.log",
        pass_fds=[theirs.fileno(), *ends],
    )


def _rescue(channels: list[Channel]) -> None:
    """The companion died: give the console back, and pass on what comes from those who have the old one still.

    What lies in the channels goes ahead of what is written to the console itself. No byte is lost; of a program that
    writes in that very instant some may come out late, in the middle of a line.
    """
    logger.warning("what this run prints is not recorded any more", extra={"action": "companion_died"})
    by_end = {channel.read_end: channel for channel in channels}
    for _ in range(_MOST_CHUNKS_AHEAD):
        if not _pass_on(by_end, 0.0):
            break
    for channel in channels:
        channel.give_back()
    while by_end:
        _pass_on(by_end, None)


def _pass_on(by_end: dict[int, Channel], timeout_s: float | None) -> bool:
    """A chunk of each channel that has one; whether any had. Channels that are through are left out of `by_end`."""
    ready = select.select(list(by_end), [], [], timeout_s)[0]
    for end in ready:
        if not _passed_on(by_end[end]):
            del by_end[end]
    return bool(ready)


def _passed_on(channel: Channel) -> bool:
    """One chunk; whether more may come."""
    try:
        data = os.read(channel.read_end, _CHUNK_BYTES)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return bool(data) and write_all(channel.original, data)


def _received(control: socket.socket) -> bytes:
    try:
        return control.recv(4096)
    except OSError:
        return b""
