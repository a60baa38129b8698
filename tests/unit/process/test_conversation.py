"""The parent's bookkeeping of one child: every call ends once, whatever is heard in whatever order."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flashtrial.process.conversation import Conversation, NotIdle, Phase
from flashtrial.process.outcome import Cancelled, Died, Ending, Outcome, OverMemory, Raised, Returned, TimedOut
from flashtrial.protocol import child as wire
from flashtrial.protocol.child import Blame


def returned(call_id: str, *, clean: bool = True) -> wire.Returned:
    return wire.Returned(call_id, b"", clean)


def test_a_second_call_cannot_begin_while_one_is_under_way() -> None:
    conversation = Conversation(holds_instance=False)
    conversation.begun("one")
    with pytest.raises(NotIdle, match="one"):
        conversation.begun("two")


def test_an_answer_to_another_call_is_nobodys_outcome() -> None:
    conversation = Conversation(holds_instance=False)
    conversation.begun("one")
    assert conversation.heard(returned("zero"), b"") is None
    assert conversation.heard(returned("one"), b"7") == Returned(b"7")


def test_a_function_child_that_left_threads_takes_no_further_call() -> None:
    conversation = Conversation(holds_instance=False)
    conversation.begun("one")
    conversation.heard(returned("one", clean=False), b"")
    assert conversation.phase is Phase.WORN
    assert not conversation.phase.takes_calls


def test_an_instance_may_keep_its_threads() -> None:
    conversation = Conversation(holds_instance=True)
    conversation.begun("one")
    conversation.heard(returned("one", clean=False), b"")
    assert conversation.phase.takes_calls


def test_an_instance_whose_constructor_raised_was_never_constructed() -> None:
    conversation = Conversation(holds_instance=True)
    conversation.begun("one")
    event = wire.Raised("one", Blame.USER_CODE, "no", clean=True, constructed=False)
    assert conversation.heard(event, b"") == Raised(Blame.USER_CODE, "no")
    assert not conversation.constructed


def test_a_call_that_stops_when_asked_ends_as_it_was_asked_to_and_its_function_child_is_spent() -> None:
    conversation = Conversation(holds_instance=False)
    conversation.begun("one")
    assert conversation.asked_to_end(TimedOut(1.0))
    event = wire.Raised("one", Blame.USER_CODE, "CallCancelled", clean=True, constructed=False)
    assert conversation.heard(event, b"") == TimedOut(1.0)
    assert conversation.phase is Phase.WORN


def test_a_value_that_comes_although_the_call_was_asked_to_end_is_its_outcome() -> None:
    conversation = Conversation(holds_instance=True)
    conversation.begun("one")
    conversation.asked_to_end(Cancelled())
    assert conversation.heard(returned("one"), b"7") == Returned(b"7")
    assert conversation.phase.takes_calls


def test_a_death_after_asking_is_told_as_what_was_asked() -> None:
    conversation = Conversation(holds_instance=True)
    conversation.begun("one")
    conversation.asked_to_end(OverMemory(2, 1))
    assert conversation.died(-9) == OverMemory(2, 1)


class AnyOrder(RuleBasedStateMachine):
    """Begins, answers of this and other calls, deaths, cancels and timeouts in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.conversation = Conversation(holds_instance=False)
        self.count = 0
        self.open: str | None = None
        self.ended: dict[str, Outcome] = {}

    def _note(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            assert self.open is not None, f"an outcome of no call: {outcome}"
            assert self.open not in self.ended, f"{self.open} ended twice"
            self.ended[self.open] = outcome
            self.open = None

    @precondition(lambda self: self.conversation.phase.takes_calls)
    @rule()
    def begin(self) -> None:
        self.count += 1
        self.open = f"call-{self.count}"
        self.conversation.begun(self.open)

    @rule(place=st.integers(0, 3), clean=st.booleans())
    def answer(self, place: int, clean: bool) -> None:
        self._note(self.conversation.heard(returned(f"call-{self.count - place}", clean=clean), b"v"))

    @rule(place=st.integers(0, 3))
    def raise_(self, place: int) -> None:
        event = wire.Raised(f"call-{self.count - place}", Blame.RESULT, "m", clean=True, constructed=False)
        self._note(self.conversation.heard(event, b""))

    @rule(ending=st.sampled_from([TimedOut(1.0), Cancelled(), OverMemory(2, 1)]))
    def ask_to_end(self, ending: Ending) -> None:
        assert self.conversation.asked_to_end(ending) == (self.open is not None)

    @rule(code=st.sampled_from([None, 0, 1, -9, -11]))
    def die(self, code: int | None) -> None:
        self._note(self.conversation.died(code))
        assert self.conversation.phase is Phase.GONE

    @invariant()
    def a_call_is_open_exactly_while_the_child_is_busy(self) -> None:
        assert self.conversation.phase.in_call == (self.open is not None)

    @invariant()
    def every_other_call_has_ended(self) -> None:
        assert len(self.ended) == self.count - (self.open is not None)


TestAnyOrder = AnyOrder.TestCase


def test_a_death_between_calls_is_no_outcome() -> None:
    conversation = Conversation(holds_instance=True)
    assert conversation.died(-9) is None
    assert conversation.phase is Phase.GONE


def test_a_death_in_a_call_is_its_outcome() -> None:
    conversation = Conversation(holds_instance=True)
    conversation.begun("one")
    assert conversation.died(3) == Died(3)
