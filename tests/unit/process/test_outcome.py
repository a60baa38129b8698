"""Each way a call can end has one kind, and words that help."""

import pytest

from flashtrial.process.outcome import Cancelled, Died, Raised, TimedOut, failure_of
from flashtrial.protocol.child import Blame
from flashtrial.protocol.execution import FailureKind


@pytest.mark.parametrize(
    ("outcome", "kind", "words"),
    [
        (Raised(Blame.USER_CODE, "ValueError: x"), FailureKind.USER_CODE, "ValueError: x"),
        (Raised(Blame.REQUEST, "argument 1"), FailureKind.REQUEST, "argument 1"),
        (Raised(Blame.RESULT, "cannot be pickled"), FailureKind.RESULT, "cannot be pickled"),
        (Died(0), FailureKind.USER_CODE, "exited with code 0"),
        (Died(3), FailureKind.USER_CODE, "exited with code 3"),
        (Died(-11), FailureKind.USER_CODE, "SIGSEGV"),
        (Died(-6), FailureKind.USER_CODE, "SIGABRT"),
        (Died(-9), FailureKind.WORKER_LOST, "out of memory"),
        (Died(-15), FailureKind.WORKER_LOST, "SIGTERM"),
        (Died(None), FailureKind.WORKER_LOST, "not known"),
        (TimedOut(2.5), FailureKind.TIMEOUT, "2.5 s"),
        (Cancelled(), FailureKind.CANCELLED, "cancelled"),
    ],
)
def test_every_end_has_its_kind_and_says_what_happened(
    outcome: Raised | Died | TimedOut | Cancelled, kind: FailureKind, words: str
) -> None:
    failure = failure_of(outcome)
    assert failure.kind is kind
    assert words in failure.message


def test_only_what_was_lost_on_the_way_may_be_retried() -> None:
    assert {kind for kind in FailureKind if kind.may_be_retried} == {FailureKind.WORKER_LOST, FailureKind.INTERNAL}
