"""How a call can end, and what the caller is told. The one place where a failure is worded."""

import signal
from dataclasses import dataclass
from typing import Final, assert_never

from flashtrial.protocol.child import Blame, RunNote
from flashtrial.protocol.execution import FailureKind

# A process that dies of these did it to itself; others (KILL, TERM …) were sent by somebody else.
_OWN_SIGNALS: Final = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGFPE,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
)
_MIB: Final = 1024 * 1024
_BLAMES: Final = {
    Blame.REQUEST: FailureKind.REQUEST,
    Blame.USER_CODE: FailureKind.USER_CODE,
    Blame.RESULT: FailureKind.RESULT,
}


@dataclass(frozen=True, slots=True)
class Returned:
    """The call came back: its value, still encoded (base64(cloudpickle) or JSON text); large ones are mapped memory.

    `runs` are those that it touched, the newest first; so in `Raised` and `TimedOut`.
    """

    value: bytes | memoryview
    runs: tuple[RunNote, ...] = ()


@dataclass(frozen=True, slots=True)
class Raised:
    """The call failed inside a child that lives on; `message` is ready to be shown."""

    blame: Blame
    message: str
    runs: tuple[RunNote, ...] = ()


@dataclass(frozen=True, slots=True)
class Died:
    """The child is gone. `exit_code` is negative for a signal, None when nobody could tell."""

    exit_code: int | None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The call ran longer than it was given; it stopped when asked, or its child was killed (then `runs` is empty)."""

    after_s: float
    runs: tuple[RunNote, ...] = ()


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The caller gave the call up; its child was killed."""


@dataclass(frozen=True, slots=True)
class OverMemory:
    """The call's process used more memory than it was given; it was killed."""

    used_bytes: int
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Garbled:
    """The call wrote what it should not into the socket between its process and the worker; it was killed."""

    reason: str


Outcome = Returned | Raised | Died | TimedOut | Cancelled | OverMemory | Garbled
Ending = TimedOut | Cancelled | OverMemory | Garbled


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no result: a kind for programs, a message for people."""

    kind: FailureKind
    message: str


def failure_of(outcome: Raised | Died | Ending) -> Failure:
    """What the caller is told about a call that did not return."""
    match outcome:
        case Raised(blame=blame, message=message):
            return Failure(_BLAMES[blame], message)
        case Died(exit_code=exit_code):
            return _failure_of_death(exit_code)
        case TimedOut(after_s=after_s):
            return Failure(FailureKind.TIMEOUT, f"The call was ended after {after_s:g} s, its time limit.")
        case Cancelled():
            return Failure(FailureKind.CANCELLED, "The call was cancelled.")
        case OverMemory(used_bytes=used, limit_bytes=limit):
            return Failure(
                FailureKind.USER_CODE,
                f"The process that ran your call used {used / _MIB:,.0f} MiB of memory, more than its limit of "
                f"{limit / _MIB:,.0f} MiB, and was ended. Use less, or raise FLASHTRIAL_CALL_MEMORY_BYTES.",
            )
        case Garbled(reason=reason):
            return Failure(
                FailureKind.USER_CODE,
                f"The process that ran your call sent the worker what it should not ({reason}), and was ended. "
                "Does the code write to descriptors that it did not open?",
            )
        case _:
            assert_never(outcome)


def _failure_of_death(exit_code: int | None) -> Failure:
    if exit_code is None:
        return Failure(
            FailureKind.WORKER_LOST, "The process that ran your call is gone; how it ended is not known. Try again."
        )
    if exit_code >= 0:
        return Failure(
            FailureKind.USER_CODE,
            f"The process that ran your call exited with code {exit_code} in the middle of it. "
            "Did the code, or a library it uses, call os._exit?",
        )
    return _failure_of_signal(-exit_code)


def _failure_of_signal(number: int) -> Failure:
    name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
    if number in _OWN_SIGNALS:
        return Failure(
            FailureKind.USER_CODE,
            f"The process that ran your call crashed ({name}). A native library did it, or the stack ran out; "
            "python -X faulthandler shows where.",
        )
    hint = " It may have run out of memory." if number == signal.SIGKILL else ""
    return Failure(FailureKind.WORKER_LOST, f"The process that ran your call was killed from outside ({name}).{hint}")
