"""Runs as users see them: `init`, `log`, `finish`, and what a run is called.

Everything here writes to the local disk only. The network is the sync process's business, and only `finish` waits for
it, within a budget. Standard library and ormsgpack only: this runs inside user processes.
"""

import importlib
import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from flashtrial.core import env
from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.records import RecordKind
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.capture.masking import Masks
from flashtrial.tracking.capture.run_parts import RunPart, RunParts
from flashtrial.tracking.journal.outbox import OutboxUnwritable
from flashtrial.tracking.journal.writer import JOINING, RunWriter
from flashtrial.tracking.runs.alerts import NAME as ALERT
from flashtrial.tracking.runs.alerts import AlertGate, parse_alert
from flashtrial.tracking.runs.arguments import parse_config, parse_step, parse_tags
from flashtrial.tracking.runs.arrivals import wait_for_delivery
from flashtrial.tracking.runs.delivery import FinishReport
from flashtrial.tracking.runs.endings import TERMINATED, ending_by, parse_ending
from flashtrial.tracking.runs.identity import Role, guest_mark
from flashtrial.tracking.runs.in_calls import share_of
from flashtrial.tracking.runs.open_runs import OpenRuns
from flashtrial.tracking.runs.places import destinations_of, page_of
from flashtrial.tracking.runs.terminations import PATIENCE_S
from flashtrial.tracking.settings.ranks import is_distributed
from flashtrial.tracking.settings.resolution import EffectiveSettings
from flashtrial.tracking.values import Exhibits, Other, parse_logged, text

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from datetime import timedelta

    from flashtrial.tracking.compat.torch_watch import Watching

LAST_LOOK_S = 0.05
_TORCH_WATCH = "flashtrial.tracking.compat.torch_watch"
_METRIC, _DATA = RecordKind.METRIC.value, RecordKind.DATA.value


class RunFinished(FlashtrialError):
    """Raised when something is logged to a run that has been finished."""


class Run:
    """One tracked run, open in this process. Made by `init`; threads may share it.

    Each process logs with a writer of its own. Whether its `finish`, or its exit, ends the run is a matter of `Role`.
    """

    def __init__(
        self,
        writer: RunWriter,
        name: str,
        tags: Iterable[str] = (),
        *,
        role: Role = Role.OWNER,
        first_step: int = 0,
    ) -> None:
        self.id = writer.run_id
        self.name = name
        self._writer = writer
        self._tags = list(tags)
        self._role = role
        self._parts = RunParts()
        self._other_writers: dict[str, int] = {}  # of the run's parts, with their last sequence numbers
        self._lock = threading.RLock()  # guards step, tags and the end; reentrant for signal handlers
        self._step = first_step
        self._is_finished = False  # takes nothing more
        self._is_ended = False  # the record of its end is written
        self._was_terminated = False
        self._is_at_exit = False
        self._alerts = AlertGate()
        self._report: FinishReport | None = None
        self.masks = Masks([writer.settings.token or ""])
        self._share = share_of(self, writer, is_guest=role is Role.GUEST)

    @property
    def settings(self) -> EffectiveSettings:
        return self._writer.settings

    @property
    def is_owner(self) -> bool:
        return self._role is Role.OWNER

    @property
    def project(self) -> str:
        return self._writer.settings.project

    @property
    def url(self) -> str:
        """The run's page, as far as the server is known now; else the address of where its records go."""
        return page_of(self._writer)

    @property
    def tags(self) -> list[str]:
        """The tags as far as this process knows them: of a run that was opened elsewhere, those it changed itself."""
        return list(self._tags)

    def start_parts(self, parts: Iterable[RunPart]) -> None:
        """Let `parts` run beside this run until it is finished; for whoever opened it. Never raises for a part."""
        self._parts = RunParts(parts)
        self._parts.start(self)

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        """Write one record of whatever kind, also while the run is ending: for its parts. Raises `JournalClosed`."""
        self._writer.append(kind, body)

    def also_wait_for(self, writer_id: str, last_seq: int) -> None:
        """Let `finish` wait for the records of another writer too: for the run's parts."""
        self._other_writers[writer_id] = last_seq

    def log(self, data: Mapping[str, Any], step: int | None = None) -> None:
        """Log values at `step`, by default one more than the last. They are on the disk when this returns.

        Values are numbers, numpy or torch scalars, strings, images, tables and the like, lists, and dicts of those.
        Raises `TypeError` naming the key for others, `ValueError` for a step beyond 64 bits and for a name that is
        empty or longer than 1024 characters, `RunFinished`.
        """
        numbers, others = parse_logged(data)
        made = [*self._records_of(others)] if others else ()
        with self._lock:
            if self._is_finished:
                self._check_open()
            step = self._step if step is None else parse_step(step)
            self._step = step + 1
            if numbers:
                self._writer.append(_METRIC, {"step": step, "values": numbers})
                if self._share is not None:
                    self._share.logged(numbers)
            for kind, body in made:
                self._writer.append(kind, {**body, "step": step})

    def log_beside(self, data: Mapping[str, Any]) -> bool:
        """Log values at the step that the next `log` will have, and no later one. False when the run is finished."""
        with self._lock:
            if self._is_finished:
                return False
            step = self._step
            self.log(data, step)
            self._step = step
            return True

    def add_tags(self, tags: str | Iterable[str]) -> None:
        """Add tags that are not there yet. Raises `RunFinished`."""
        self._change_tags(add=self.settings.kept_tags(parse_tags(tags)))

    def remove_tags(self, tags: str | Iterable[str]) -> None:
        """Remove tags; those that are not there do no harm. Raises `RunFinished`."""
        self._change_tags(remove=self.settings.kept_tags(parse_tags(tags)))

    def update_config(self, config: Mapping[str, Any]) -> None:
        """Merge `config` deeply over the run's. Raises `RunFinished` and `ConfigurationError`."""
        parsed = parse_config(config)
        news = self.settings.kept_config(parsed)
        with self._lock:
            self._check_open()
            self.masks.learn(self.settings.secrets_of(parsed))
            self._writer.append(RecordKind.CONFIG, {"set": news})

    def alert(
        self,
        title: str | None = None,
        text: str | None = None,
        level: str | int = "INFO",
        wait: "float | timedelta" = 0.0,
        *,
        message: str | None = None,
        url: str | None = None,
        wait_duration: "float | timedelta | None" = None,
    ) -> bool:
        """Say something that people should see: INFO, WARN or ERROR. `message` and `wait_duration` are other names.

        False when an alert of the same title was said less than `wait` seconds ago: then this one is not. Never
        blocks. Raises `RunFinished` and `ConfigurationError`.
        """
        wait = wait if wait_duration is None else wait_duration
        said = parse_alert(title, text or message, level, wait, url).shown(self.masks)
        with self._lock:
            self._check_open()
            if not self._alerts.passes(said):
                return False
            self._writer.append(_DATA, {"name": ALERT, "type": ALERT, "step": None, "value": said.to_value()})
        extra = {"action": "alert", "run_id": self.id}
        logger.log(said.level.for_logging, "%s: %s", said.title, said.text, extra=extra)
        return True

    def watch(self, model: Any, log: str | None = "gradients", log_freq: int = 1000, **more: Any) -> "Watching":
        """Log histograms of a torch model while it trains; see `flashtrial.tracking.compat.torch_watch.watch`."""
        self._check_open()
        watching: Watching = importlib.import_module(_TORCH_WATCH).watch(self, model, log, log_freq, **more)
        return watching

    def finish(
        self,
        status: RunStatus | str | None = None,
        reason: str | None = None,
        *,
        timeout_s: float | None = None,
        wait: bool | None = None,
    ) -> FinishReport:
        """End the run, wait at most `timeout_s` for its records to be sent, and say how many were. What was not is
        sent later by the sync process. Calling twice is safe and answers the same.

        By default a run ends well, or as interrupted after a SIGTERM, and the wait is that of the settings: none in a
        distributed job, where the other ranks would wait in their next collective. ``wait=False`` waits for nothing,
        ``wait=True`` by the settings of a job that is not distributed. Raises `ConfigurationError` for a status that
        ends nothing.
        """
        if status is None:
            status, reason = self._ending_by(None, reason)
        ending = parse_ending(status)
        timeout_s = _wait_s(self._writer.settings, timeout_s, wait)
        with self._lock:
            if self._report is not None:
                return self._report
            self._is_finished = True
        self._parts.close()
        self._end(ending, reason)
        report = self._wait(ending, timeout_s)
        self._report = report
        self._writer.close()
        open_runs.discard(self)
        level = logging.WARNING if _is_worth_a_warning(report, timeout_s) else logging.INFO
        logger.log(level, "%s", report, extra={"action": "run_finished", "run_id": self.id})
        return report

    def finish_at_exit(self, error: BaseException | None) -> None:
        """The end of the interpreter is the end of a run that is still open; `error` made it fail."""
        self._is_at_exit = True
        was_interrupted = self._is_finished  # whoever did not want to wait then does not want to now
        self.finish(*self._ending_by(error), timeout_s=LAST_LOOK_S if was_interrupted else None)

    def mark_terminated(self, *, is_dying: bool) -> None:
        """Write that SIGTERM interrupted the run, which may go on all the same where the process does not die of it.

        Called in a signal handler, or on a thread while whatever the signal interrupted goes on: waits `PATIENCE_S` at
        most for others.
        """
        if is_dying:
            self._parts.close(PATIENCE_S / 2)
        if not self._lock.acquire(timeout=PATIENCE_S):
            return
        try:
            if not self._was_terminated and not self._is_ended:
                self._was_terminated = True
                self._write_end(*TERMINATED)
            self._is_finished = self._is_ended = self._is_ended or is_dying
        finally:
            self._lock.release()

    def renew_after_fork(self) -> None:
        """In the child of a fork: join the run instead of owning it."""
        self._lock = threading.RLock()
        self._role = Role.MEMBER
        self._was_terminated = False
        self._parts.renew_after_fork()
        self._writer.renew_after_fork()

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.finish(*self._ending_by(error))

    def __reduce__(self) -> tuple[Any, ...]:
        settings = replace(self._writer.settings, token=None)
        return join_run, (self.id, self.name, tuple(self._tags), settings, self._writer.opened_ms)

    def __repr__(self) -> str:
        return f"<Run {self.id} {self.name!r} of project {self.project!r}>"

    def _records_of(self, others: Iterable[Other]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Kind and body of each record, less its step. Not under the lock: an image may take a while."""
        for other in others:
            if isinstance(other, Exhibits):
                yield from self._staged(other)
            else:
                yield _DATA, {"name": other.name, "type": other.type, "value": other.value}

    def _staged(self, exhibits: Exhibits) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for index, value in enumerate(exhibits.values):
            try:
                kind, body = value.stage_record(self._writer.settings.outbox)
            except OutboxUnwritable as error:
                self._writer.lose(error)
            else:
                yield kind, {**body, "name": exhibits.name, **({"index": index} if exhibits.is_list else {})}

    def _end(self, ending: RunStatus, reason: str | None) -> None:
        """Write the record of the run's end, once, if this process has one to write."""
        with self._lock:
            if not self._is_ended:
                self._write_end(ending, reason)
            self._is_ended = True

    def _write_end(self, ending: RunStatus, reason: str | None) -> None:
        if self._role is not Role.MEMBER:
            said = {"reason": self.masks.masked(text(reason))} if reason else {}
            self._writer.append(RecordKind.STATE, {"status": ending.value, **said, **guest_mark(self._role)})

    def _ending_by(self, error: BaseException | None, reason: str | None = None) -> tuple[RunStatus, str | None]:
        """How the run ends by `error`; a program that leaves in good order after a SIGTERM was interrupted still."""
        if self._was_terminated and (error is None or isinstance(error, SystemExit)):
            return TERMINATED[0], reason or TERMINATED[1]
        status, said = ending_by(error, self.masks)
        return status, reason or said

    def _check_open(self) -> None:
        if not self._is_finished:
            return
        if self._is_at_exit and threading.current_thread().daemon:
            sys.exit()  # only this thread, which the interpreter would freeze at its next step: no traceback for that
        raise RunFinished(f"run {self.id} is finished; init(run_id={self.id!r}) opens it again")

    def _change_tags(self, **change: list[str]) -> None:
        """What changes stands in the record beside the whole: a process that attached does not know all tags."""
        gone = change.get("remove", ())
        with self._lock:
            self._check_open()
            self._tags = [tag for tag in dict.fromkeys([*self._tags, *change.get("add", ())]) if tag not in gone]
            self._writer.append(RecordKind.TAGS, {"tags": self._tags, **change})

    def _wait(self, status: RunStatus, timeout_s: float) -> FinishReport:
        writer = self._writer
        gone = writer.last_seq if writer.is_removed() else 0
        writers = {**self._other_writers, **({} if gone else {writer.writer_id: writer.last_seq})}
        outbox = writer.settings.outbox
        delivery = wait_for_delivery(outbox, writers, destinations_of(writer), timeout_s, writer.see_to_sync)
        return FinishReport(
            run_id=self.id,
            url=self.url,
            status=status if self.is_owner else RunStatus.RUNNING,
            written=sum(writers.values()),
            sent=delivery.sent,
            refused=delivery.refused,
            pending=delivery.pending,
            lost=writer.lost + gone,
            outage=delivery.outage,
            is_in_worker=writer.settings.worker_id is not None,
            files_pending=delivery.files_pending,
            files_refused=delivery.files_refused,
            dropped=delivery.dropped,
            arrivals=delivery.arrivals,
        )


open_runs: OpenRuns[Run] = OpenRuns()


def _is_worth_a_warning(report: FinishReport, waited_s: float) -> bool:
    """Whether a user who does not look at the report must hear of it: Python shows warnings where nobody set it up."""
    waits = (report.pending or report.files_pending) and waited_s > 0 and not report.is_in_worker
    return bool(report.lost or report.refused or report.dropped or report.files_refused or waits)


def _wait_s(settings: EffectiveSettings, said_s: float | None, wait: bool | None) -> float:
    """How long `finish` may wait. Asked at the end, since a job may have become a distributed one after `init`."""
    if said_s is not None:
        return said_s
    is_held_up_for = wait is None and not settings.is_wait_chosen and is_distributed(env.snapshot())
    return 0.0 if wait is False or is_held_up_for else settings.finish_timeout_s


def join_run(run_id: str, name: str, tags: tuple[str, ...], settings: EffectiveSettings, opened_ms: int) -> Run:
    """The run of another process, in a process that unpickled it. No pickle has secrets: what its configuration hides
    is known where this process opened the run as well, or imported the program that did."""
    run = Run(RunWriter(run_id, settings, JOINING, opened_ms), name, tags, role=Role.MEMBER)
    for other in open_runs.all():
        if other.id == run_id:
            run.masks.learn(other.masks.learned)
    open_runs.add(run, minds_signals=False)
    return run


Op = Run
