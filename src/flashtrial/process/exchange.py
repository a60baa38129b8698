"""One call as the parent waits for it: its output, its limits, and its outcome, which comes once."""

import asyncio
import signal
from typing import TYPE_CHECKING, Final

from flashtrial.process.outcome import Ending, Outcome, OverMemory, TimedOut
from flashtrial.process.output import OutputPipe
from flashtrial.process.sink import Sink

if TYPE_CHECKING:
    from flashtrial.process.child import CallLimits, Child

SOFT_GRACE_S: Final = 0.25
TERM_GRACE_S: Final = 0.3
MEMORY_LOOK_S: Final = 0.5
PIPE_PATIENCE_S: Final = 0.005


class Exchange:
    """One call in `child`. Nothing of the event loop is made before somebody has to wait: a quick call needs none.

    `keeps_pipe` says that the child keeps its end of `pipe` for its next call.
    """

    def __init__(self, child: "Child", call_id: str, sink: Sink, pipe: OutputPipe) -> None:
        self.call_id = call_id
        self.sink = sink
        self.pipe = pipe
        self.outcome: Outcome | None = None
        self.keeps_pipe = False
        self._child = child
        self._waiter: asyncio.Future[None] | None = None
        self._burial: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._hears_output = False

    async def within(self, limits: "CallLimits") -> Outcome:
        """The outcome; a call over its time is ended, one over its memory as well."""
        # a quick call's output is taken at its end: registering the pipe would cost more than the call
        self._timers.append(asyncio.get_running_loop().call_later(PIPE_PATIENCE_S, self._hear_output))
        if limits.memory_bytes is not None:
            self._look_at_memory(limits.memory_bytes)
        if limits.timeout_s is None:
            return await self._awaited()
        try:
            async with asyncio.timeout(limits.timeout_s):
                return await self._awaited()
        except TimeoutError:
            return await self.end(TimedOut(limits.timeout_s))

    async def end(self, ending: Ending) -> Outcome:
        """Ask the code to stop; when it does not, end its process and all that it started."""
        if self.outcome is None and self._child.conversation.asked_to_end(ending):
            self._child.process.signal_leader(signal.SIGUSR1)
            await asyncio.wait({self._settled()}, timeout=SOFT_GRACE_S)
            if self.outcome is None:
                self._bury_once(patience_s=0.0)
            return await self._awaited()
        return self.outcome or ending

    def settle(self, outcome: Outcome | None) -> None:
        """The call ended with `outcome`; None is none."""
        if outcome is not None and self.outcome is None:
            self.pipe.drain()
            self.outcome = outcome
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def on_death(self) -> None:
        """The process is over, or about to be: its socket closes first, and its own exit code tells more than ours."""
        self._bury_once(patience_s=TERM_GRACE_S)

    def on_garbage(self) -> None:
        """The process is to be ended at once."""
        self._bury_once(patience_s=0.0)

    def close(self) -> None:
        """Stop listening; the pipe stays open."""
        for timer in self._timers:
            timer.cancel()
        if self._hears_output:
            asyncio.get_running_loop().remove_reader(self.pipe.read_end)

    async def _awaited(self) -> Outcome:
        while self.outcome is None:
            await self._settled()
        return self.outcome

    def _settled(self) -> asyncio.Future[None]:
        """Done when the outcome is there; made anew when whoever waited for it was cancelled, and it with them."""
        if self._waiter is None or self._waiter.cancelled():
            self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def _hear_output(self) -> None:
        self._hears_output = True
        asyncio.get_running_loop().add_reader(self.pipe.read_end, self._on_output)

    def _on_output(self) -> None:
        self.pipe.take_one(self._child.hear)  # which run it belongs to was said before it was written
        if self.pipe.ended:  # the code closed its own output: readable for ever, and the call goes on
            self._hears_output = False
            asyncio.get_running_loop().remove_reader(self.pipe.read_end)

    def _look_at_memory(self, limit_bytes: int) -> None:
        used = self._child.resident_bytes() or 0
        if used <= limit_bytes:
            loop = asyncio.get_running_loop()
            self._timers[1:] = [loop.call_later(MEMORY_LOOK_S, self._look_at_memory, limit_bytes)]
        # no asking: what allocates this fast does not wait for an answer
        elif self._child.conversation.asked_to_end(OverMemory(used, limit_bytes)):
            self._bury_once(patience_s=0.0)

    def _bury_once(self, patience_s: float) -> None:
        if self._burial is None or self._burial.cancelled():  # a loop that is being closed cancels every task
            self._child.stop_listening()
            self._burial = asyncio.ensure_future(self._bury(patience_s))

    async def _bury(self, patience_s: float) -> None:
        """The last words first, then the outcome.

        The process may live on: code that closes every descriptor closes our socket too. It is of no use then.
        """
        self._child.bury(await self._child.ended(patience_s=patience_s))
