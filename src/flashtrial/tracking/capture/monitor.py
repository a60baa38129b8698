"""The system monitor: a daemon thread of the run's owner that writes a ``system`` record now and then.

::

    start ──▶ thread: let `init` end, sample, sample after a second, sample each interval … ──▶ run.append("system", …)
    close ──▶ the thread is woken, takes no further sample, and ends

Each sampler fails alone: it is said once, and the others go on. A fork has no such thread. Nothing waits for the thread
at exit, not even when a driver hangs. Standard library only; what samplers import is their business.
"""

import logging
import threading
from typing import TYPE_CHECKING

from flashtrial.core import env
from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.records import RecordKind
from flashtrial.tracking.capture.fork_gate import imported
from flashtrial.tracking.capture.run_parts import PartHost
from flashtrial.tracking.settings.ranks import rank_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flashtrial.tracking.capture.samplers import Sampler

logger = logging.getLogger(__name__)

SECOND_SAMPLE_AFTER_S = 1.0
# The samplers' imports take some 30 ms of the interpreter, which `init` would have to share while it starts a
# companion: each of its steps waited for the interpreter lock, and it took five times as long.
FIRST_SAMPLE_AFTER_S = 0.1
PREFIX = "sys/"
PREFIX_OF_WORKER = "sys/worker."


class SystemMonitor:
    """Implements `RunPart`."""

    def __init__(self, interval_s: float, samplers: "Callable[[], Iterable[Sampler]] | None" = None) -> None:
        self._interval_s = interval_s
        self._make_samplers = samplers
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, run: PartHost) -> None:
        """Only the owner's: a guest is a rank of the same job, whose figures would stand under the same names.

        Or it is a call of the owner's, on a worker: the machine that does the work has names of its own.
        """
        prefix = _prefix(run)
        if prefix is not None:
            arguments = (run, prefix)
            self._thread = threading.Thread(target=self._watch, args=arguments, name="flashtrial-monitor", daemon=True)
            self._thread.start()

    def close(self, deadline_s: float) -> None:
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(deadline_s)

    def renew_after_fork(self) -> None:
        self._stop = threading.Event()  # the other one's lock may have been held
        self._thread = None

    def _watch(self, run: PartHost, prefix: str) -> None:
        stop = self._stop
        if stop.wait(FIRST_SAMPLE_AFTER_S):
            return
        watch = Watch((self._make_samplers or _samplers_of_this_machine)())
        pause_s = min(SECOND_SAMPLE_AFTER_S, self._interval_s)
        try:
            while not stop.is_set():
                values = watch.sample()
                if values and not stop.is_set():
                    named = {prefix + name.removeprefix(PREFIX): value for name, value in values.items()}
                    run.append(RecordKind.SYSTEM, {"values": named})
                stop.wait(pause_s)
                pause_s = self._interval_s
        except FlashtrialError as error:  # the journal was closed meanwhile
            logger.debug("the system monitor ends: %s", error, extra={"action": "system_monitor_ends"})
        finally:
            watch.close()


def _prefix(run: PartHost) -> str | None:
    """What the figures of this process are called, for this run; None when they are not wanted."""
    if run.is_owner:
        return PREFIX
    is_of_a_call = run.settings.worker_id is not None and rank_of(env.snapshot()) == 0
    return PREFIX_OF_WORKER if is_of_a_call else None


def _samplers_of_this_machine() -> "Iterable[Sampler]":
    """Loaded on the monitor's own thread: they cost `init` nothing."""
    samplers = imported("flashtrial.tracking.capture.samplers")
    assert samplers is not None
    found: Iterable[Sampler] = samplers.machine_samplers()
    return found


class Watch:
    """The samplers of one thread; what each said of its failure is said once."""

    def __init__(self, samplers: "Iterable[Sampler]") -> None:
        self._samplers = list(samplers)
        self._said: set[str] = set()

    def sample(self) -> dict[str, float]:
        """All that can be known now."""
        values: dict[str, float] = {}
        for sampler in self._samplers:
            try:
                values.update({name: float(value) for name, value in sampler.sample().items()})
            except Exception as error:  # noqa: BLE001 - sensors, drivers and /proc of any machine; the training goes on
                self._say_once(sampler.name, error)
        return values

    def close(self) -> None:
        for sampler in self._samplers:
            try:
                sampler.close()
            except Exception as error:  # noqa: BLE001 - as in `sample`
                self._say_once(sampler.name, error)

    def _say_once(self, name: str, error: Exception) -> None:
        if name not in self._said:
            self._said.add(name)
            level = logging.INFO if isinstance(error, ModuleNotFoundError) else logging.WARNING
            logger.log(
                level,
                "no figures of the %s: %s: %s",
                name,
                type(error).__name__,
                error,
                extra={"action": "sampler_failed"},
            )
