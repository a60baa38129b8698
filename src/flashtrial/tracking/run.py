"""Runs as users see them: `init`, `log`, `finish`, and what a run is called.

Everything here writes to the local disk only. The network is the sync process's business, and only `finish` waits for
it, within a budget. Standard library and ormsgpack only: this runs inside user processes.
"""

import logging
import operator
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any
from urllib.parse import quote

from flashtrial.core import env
from flashtrial.core.errors import ConfigurationError, FlashtrialError
from flashtrial.core.ids import new_id
from flashtrial.protocol.records import JsonValue, RecordKind
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.address import find_address
from flashtrial.tracking.delivery import FinishReport, wait_for_delivery
from flashtrial.tracking.endings import ending_by, parse_ending
from flashtrial.tracking.names import readable_name
from flashtrial.tracking.open_runs import OpenRuns
from flashtrial.tracking.ranks import rank_of
from flashtrial.tracking.settings import EffectiveSettings, SettingsLike, resolve
from flashtrial.tracking.values import MAX_NAME_CHARS, parse_logged, plain, text
from flashtrial.tracking.writer import JOINING, RunWriter

logger = logging.getLogger(__name__)

LAST_LOOK_S = 0.05
_METRIC, _DATA = RecordKind.METRIC.value, RecordKind.DATA.value


class RunFinished(FlashtrialError):
    """Raised when something is logged to a run that has been finished."""


class Run:
    """One tracked run, open in this process. Made by `init`; threads may share it.

    A process that got the run by fork or by pickling joins it: it logs with a writer of its own, and neither its
    `finish` nor its exit ends the run. Nor does that of a guest, a rank above 0 that attached (see `init`), but that a
    guest failed is a failure of the run.
    """

    def __init__(
        self, writer: RunWriter, name: str, tags: Iterable[str] = (), *, is_owner: bool = True, is_guest: bool = False
    ) -> None:
        self.id = writer.run_id
        self.name = name
        self._writer = writer
        self._tags = list(tags)
        self._is_owner = is_owner
        self._is_guest = is_guest
        self._lock = threading.RLock()  # guards step, tags and the end; reentrant for signal handlers
        self._step = 0
        self._is_finished = False
        self._report: FinishReport | None = None

    @property
    def project(self) -> str:
        return self._writer.settings.project

    @property
    def url(self) -> str:
        """The run's page, at the server as far as it is known now."""
        settings = self._writer.settings
        return f"{find_address(settings.home, url=settings.url).url}/runs/{quote(self.id, safe='')}"

    @property
    def tags(self) -> list[str]:
        """The tags as far as this process knows them: of a run that was opened elsewhere, those it changed itself."""
        return list(self._tags)

    def log(self, data: Mapping[str, Any], step: int | None = None) -> None:
        """Log values at `step`, by default one more than the last. They are on the disk when this returns.

        Values are numbers, numpy or torch scalars, strings, lists, and dicts of those. Raises `TypeError` naming the
        key for others, `ValueError` for a step beyond 64 bits and for a name that is empty or longer than 1024
        characters, `RunFinished`.
        """
        numbers, others = parse_logged(data)
        with self._lock:
            if self._is_finished:
                self._check_open()
            step = self._step if step is None else _step(step)
            self._step = step + 1
            if numbers:
                self._writer.append(_METRIC, {"step": step, "values": numbers})
            for datum in others:
                self._writer.append(_DATA, {"name": datum.name, "type": datum.type, "step": step, "value": datum.value})

    def add_tags(self, tags: str | Iterable[str]) -> None:
        """Add tags that are not there yet. Raises `RunFinished`."""
        self._change_tags(add=_tags(tags))

    def remove_tags(self, tags: str | Iterable[str]) -> None:
        """Remove tags; those that are not there do no harm. Raises `RunFinished`."""
        self._change_tags(remove=_tags(tags))

    def update_config(self, config: Mapping[str, Any]) -> None:
        """Merge `config` deeply over the run's. Raises `RunFinished` and `ConfigurationError`."""
        news = _config(config)
        with self._lock:
            self._check_open()
            self._writer.append(RecordKind.CONFIG, {"set": news})

    def finish(
        self,
        status: RunStatus | str = RunStatus.FINISHED,
        reason: str | None = None,
        *,
        timeout_s: float | None = None,
    ) -> FinishReport:
        """End the run, wait at most `timeout_s` (default: by the settings) for its records to be sent, and say how
        many were. What was not is sent later by the sync process. Calling twice is safe and answers the same.

        Raises `ConfigurationError` for a status that ends nothing.
        """
        ending = parse_ending(status)
        with self._lock:
            if self._report is not None:
                return self._report
            if (self._is_owner or self._is_guest) and not self._is_finished:
                self._writer.append(
                    RecordKind.STATE, {"status": ending.value, **_reason(reason), **_guest(self._is_guest)}
                )
            self._is_finished = True
        timeout_s = self._writer.settings.finish_timeout_s if timeout_s is None else timeout_s
        report = self._wait(ending, timeout_s)
        self._report = report
        self._writer.close()
        _open_runs.discard(self)
        level = logging.WARNING if _is_worth_a_warning(report, timeout_s) else logging.INFO
        logger.log(level, "%s", report, extra={"action": "run_finished", "run_id": self.id})
        return report

    def finish_at_exit(self, error: BaseException | None) -> None:
        """The end of the interpreter is the end of a run that is still open; `error` made it fail."""
        was_interrupted = self._is_finished  # whoever did not want to wait then does not want to now
        self.finish(*ending_by(error), timeout_s=LAST_LOOK_S if was_interrupted else None)

    def renew_after_fork(self) -> None:
        """In the child of a fork: join the run instead of owning it."""
        self._lock = threading.RLock()
        self._is_owner = self._is_guest = False
        self._writer.renew_after_fork()

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.finish(*ending_by(error))

    def __reduce__(self) -> tuple[Any, ...]:
        settings = replace(self._writer.settings, token=None)
        return _join, (self.id, self.name, tuple(self._tags), settings, self._writer.opened_ms)

    def __repr__(self) -> str:
        return f"<Run {self.id} {self.name!r} of project {self.project!r}>"

    def _check_open(self) -> None:
        if self._is_finished:
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
        delivery = wait_for_delivery(
            writer.settings.outbox, writer.writer_id, writer.last_seq, timeout_s, writer.see_to_sync
        )
        return FinishReport(
            run_id=self.id,
            url=self.url,
            status=status if self._is_owner else RunStatus.RUNNING,
            written=writer.last_seq,
            sent=delivery.sent,
            refused=delivery.refused,
            pending=delivery.pending,
            lost=writer.lost,
            outage=delivery.outage,
            is_in_worker=writer.settings.worker_id is not None,
        )


_open_runs: OpenRuns[Run] = OpenRuns()


def init(  # noqa: PLR0917 - the order of the Pluto family, which scripts rely on
    project: str | None = None,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    tags: str | Iterable[str] | None = None,
    settings: SettingsLike = None,
    run_id: str | None = None,
    resume: bool | None = None,
) -> Run:
    """Open a run: a new one, or with `run_id` the one of that id, from whatever process or machine.

    Writes to the local disk and never waits for the network. Of a run that is opened again only what is given here is
    changed; ``resume=False`` makes `run_id` the id of a new run.

    Whoever opens a run by `run_id` goes on with it, and its `finish` ends it: of several, the last one counts. In a
    distributed job only rank 0 does, or who says ``resume=True``: the other ranks are guests of the run, which they
    neither open again nor end. Raises `ConfigurationError`, `OutboxUnwritable` and `RecordTooLarge`.
    """
    if resume and not run_id:
        raise ConfigurationError("resume needs the run_id of the run to go on with")
    environment = env.snapshot()
    effective = resolve(settings, environment, project=project and _name("project", project))
    is_new = run_id is None or resume is False
    is_guest = not is_new and resume is None and rank_of(environment) > 0
    identity = new_id("run") if run_id is None else _name("run_id", run_id)
    name = _name("name", name) if name else (readable_name(identity) if is_new else None)
    opening: dict[str, JsonValue] = {
        "status": RunStatus.RUNNING.value,
        "project": effective.project if is_new else project,
        "name": name,
        "config": (_config(config) or None) if config is not None else None,
        "tags": [*_tags(tags)] if tags else None,
        "host": os.uname().nodename if is_new else None,
        **_guest(is_guest),
    }
    writer = RunWriter(identity, effective, {key: value for key, value in opening.items() if value is not None})
    writer.open()
    run = Run(writer, name or identity, _tags(tags or ()), is_owner=not is_guest, is_guest=is_guest)
    _open_runs.add(run)
    return run


def log(data: Mapping[str, Any], step: int | None = None) -> None:
    """`Run.log` of the newest run that is open in this process. Raises `NoActiveRun`."""
    _open_runs.newest().log(data, step)


def finish(
    status: RunStatus | str = RunStatus.FINISHED, reason: str | None = None, *, timeout_s: float | None = None
) -> FinishReport:
    """`Run.finish` of the newest run that is open in this process. Raises `NoActiveRun`."""
    return _open_runs.newest().finish(status, reason, timeout_s=timeout_s)


def _is_worth_a_warning(report: FinishReport, waited_s: float) -> bool:
    """Whether a user who does not look at the report must hear of it: Python shows warnings where nobody set it up."""
    return bool(report.lost or report.refused or (report.pending and waited_s > 0 and not report.is_in_worker))


def _join(run_id: str, name: str, tags: tuple[str, ...], settings: EffectiveSettings, opened_ms: int) -> Run:
    """The run of another process, in a process that unpickled it."""
    run = Run(RunWriter(run_id, settings, JOINING, opened_ms), name, tags, is_owner=False)
    _open_runs.add(run)
    return run


def _step(step: int) -> int:
    """`step` as an integer with a successor. Raises `TypeError` and `ValueError`."""
    if type(step) is not int:
        step = operator.index(step)
    if not -(2**63) <= step < 2**63 - 1:
        raise ValueError(f"step {step} does not fit 64 bits")
    return step


def _tags(tags: str | Iterable[str]) -> list[str]:
    """Tags without repetition, in order; one string is one tag. Raises `ConfigurationError`."""
    return list(dict.fromkeys(_name("tag", tag) for tag in ([tags] if isinstance(tags, str) else tags)))


def _config(config: object) -> JsonValue:
    """`config`, a map or an object with attributes (argparse's, a dataclass), as records hold it.

    Raises `ConfigurationError`.
    """
    match config:
        case Mapping():
            return plain(config)
        case object(__dict__=dict(attributes)):
            return plain(attributes)
    raise ConfigurationError(f"config is a dict or an object with attributes, not {config!r:.80}")


def _name(what: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS:
        raise ConfigurationError(f"{what} is a text of 1 to {MAX_NAME_CHARS} characters, not {value!r:.80}")
    return text(value)


def _guest(is_guest: bool) -> dict[str, JsonValue]:
    return {"guest": True} if is_guest else {}


def _reason(reason: str | None) -> dict[str, JsonValue]:
    return {"reason": text(reason)} if reason else {}


Op = Run
