"""The parent's half of one child: sends calls, listens, gives up, buries.

A child made under one event loop serves calls of the next: it listens in whichever loop calls it. It belongs to one
thread and takes one call at a time.
"""

import asyncio
import contextlib
import os
import select
import signal
from dataclasses import dataclass
from typing import Final, Protocol

from flashtrial.process import blobs
from flashtrial.process.call_spec import CallSpec
from flashtrial.process.channel import Channel, ChannelClosed
from flashtrial.process.conversation import Conversation, Phase
from flashtrial.process.memory import resident_bytes
from flashtrial.process.outcome import Cancelled, Ending, Outcome, OverMemory, TimedOut
from flashtrial.process.output import OutputPipe, log_late_output
from flashtrial.process.sink import Sink
from flashtrial.protocol.child import Message, ProtocolError, Raised, Ready, Returned, Yielded

SOFT_GRACE_S: Final = 0.25
TERM_GRACE_S: Final = 0.3
MEMORY_LOOK_S: Final = 0.5
PIPE_PATIENCE_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one call may take: seconds of wall time, resident bytes of its process; None is no limit."""

    timeout_s: float | None = None
    memory_bytes: int | None = None


NO_LIMITS: Final = CallLimits()


class ChildProcess(Protocol):
    """A process that was made for us, by whatever means."""

    @property
    def pid(self) -> int: ...

    @property
    def pidfd(self) -> int | None:
        """Readable when the process has ended; None where the platform has none (then the socket's end tells)."""
        ...

    @property
    def is_doomed(self) -> bool:
        """Whether it is over, or will be in a moment, because the process it lives from is."""
        ...

    def signal_leader(self, number: signal.Signals) -> None:
        """Signal the process alone; nothing happens when it is gone."""
        ...

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the process and all that it started in its session; nothing happens when it is gone."""
        ...

    async def exit_code(self) -> int | None:
        """Wait for the end, bury the process and its group; negative for a signal, None when nobody knows."""
        ...

    def close(self) -> None:
        """Let go of descriptors; the process must be over."""
        ...


class Child:
    """One child process and the calls it is given."""

    def __init__(self, process: ChildProcess, channel: Channel, *, holds_instance: bool = False) -> None:
        self.process = process
        self.conversation = Conversation(holds_instance=holds_instance)
        self._channel = channel
        self._late: set[OutputPipe] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exchange: _Exchange | None = None

    @property
    def takes_calls(self) -> bool:
        """Whether it is idle and, as far as can be seen without waiting, alive."""
        return self.conversation.phase.takes_calls and not self._is_over()

    async def until_ready(self, deadline_s: float) -> None:
        """Wait until a child that starts slowly can take calls, so that its start is no part of a call's time.

        A child that dies before, or takes longer than `deadline_s`, is found out by its first call.
        """
        self._channel.set_timeout(deadline_s)
        try:
            with contextlib.suppress(ChannelClosed, TimeoutError):
                await asyncio.to_thread(self._channel.receive)
        except asyncio.CancelledError:
            await asyncio.shield(self.end())
            raise
        self._channel.set_timeout(None)

    async def call(self, spec: CallSpec, sink: Sink, limits: CallLimits = NO_LIMITS) -> Outcome:
        """Run one call; `sink` gets its output as it comes, and all of it before this returns.

        A call that reaches a limit, or whose task is cancelled, is ended in three steps (ask, TERM, KILL) within a
        second; the cancellation goes on once that is done. An instance that answers when asked lives on.
        """
        self._listen()
        exchange = self._exchange = _Exchange(self, spec.call_id, sink)
        try:
            self._send(spec, exchange)
            return await exchange.within(limits)
        except asyncio.CancelledError:
            await asyncio.shield(exchange.end(Cancelled()))
            raise
        finally:
            exchange.close()
            self._exchange = None
            self._keep_late_output(exchange)

    async def end(self, grace_s: float = TERM_GRACE_S) -> Outcome | None:
        """End and bury the child; the outcome of the call it was in, if any. Safe to call twice."""
        if self.conversation.phase is Phase.GONE:
            return None
        return self.bury(await self.ended(grace_s))

    async def ended(self, grace_s: float = TERM_GRACE_S, *, patience_s: float = 0.0) -> int | None:
        """The exit code, once the process and everything in its session have ended: patience, TERM, grace, KILL."""
        waiting = asyncio.ensure_future(self.process.exit_code())
        for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, grace_s)):
            if wait_s and (await asyncio.wait({waiting}, timeout=wait_s))[0]:
                break
            self.process.signal_group(number)
        return await waiting

    def bury(self, exit_code: int | None) -> Outcome | None:
        """Note that the process is over and let go of its descriptors; the outcome of the call it was in, if any."""
        self.stop_listening()
        outcome = self.conversation.died(exit_code)
        self._channel.close()
        self.process.close()
        return outcome

    def _listen(self) -> None:
        """Hear the child's answers and its end in this loop; kept up between calls, since registering costs more."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self._loop = loop
        loop.add_reader(self._channel.fileno(), self._on_event)
        if self.process.pidfd is not None:
            loop.add_reader(self.process.pidfd, self._on_over)

    def stop_listening(self) -> None:
        """Safe to call twice, and when the loop is closed by now."""
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._channel.fileno())
            if self.process.pidfd is not None:
                loop.remove_reader(self.process.pidfd)

    def _on_event(self) -> None:
        try:
            for message, descriptors in self._channel.receive_ready():
                self._take(message, descriptors)
        except ChannelClosed:
            self._on_over()

    def _on_over(self) -> None:
        """The process is over, or about to be; when no call is under way, the next look at it finds that out."""
        self.stop_listening()
        if self._exchange is not None:
            self._exchange.on_death()

    def _take(self, message: Message, descriptors: list[int]) -> None:
        match message:
            case Returned():
                self._settle(message, blobs.take(message.value, lambda: descriptors.pop(0)))
            case Raised():
                self._settle(message, b"")
            case Yielded():
                value = blobs.take(message.value, lambda: descriptors.pop(0))
                if self._exchange is not None and self.conversation.concerns(message.call_id):
                    self._exchange.sink.yielded(bytes(value))
            case Ready():
                pass
            case _:
                raise ProtocolError(f"a child answers calls, it does not send {type(message).__name__}")

    def _settle(self, event: Returned | Raised, value: blobs.Blob) -> None:
        outcome = self.conversation.heard(event, value)
        if self._exchange is not None:
            self._exchange.settle(outcome)

    def _send(self, spec: CallSpec, exchange: "_Exchange") -> None:
        self.conversation.begun(spec.call_id)
        file = blobs.to_file(spec.arguments)
        command = spec.command(blobs.joined(spec.arguments) if file is None else None)
        descriptors = [exchange.pipe.write_end, *([file] if file is not None else [])]
        try:
            with contextlib.suppress(ChannelClosed):  # the listening side finds out how it ended
                self._channel.send(command, descriptors)
        finally:
            exchange.pipe.close_write_end()
            if file is not None:
                os.close(file)

    def _is_over(self) -> bool:
        descriptor = self.process.pidfd
        return self.process.is_doomed or (descriptor is not None and _is_readable(descriptor))

    def _keep_late_output(self, exchange: "_Exchange") -> None:
        """A grandchild may still hold the call's pipe: closing our end would kill it with SIGPIPE at its next write."""
        pipe, loop = exchange.pipe, asyncio.get_running_loop()
        if pipe.ended or self.conversation.phase is Phase.GONE:
            pipe.close()
            return
        pipe.redirect(log_late_output(exchange.call_id))
        self._late.add(pipe)

        def take() -> None:
            pipe.take_one()
            if pipe.ended:
                loop.remove_reader(pipe.read_end)
                pipe.close()
                self._late.discard(pipe)

        loop.add_reader(pipe.read_end, take)

    def close_late_output(self) -> None:
        """Stop listening to what outlived its call."""
        for pipe in self._late:
            with contextlib.suppress(RuntimeError):  # the loop that listened is closed already
                asyncio.get_running_loop().remove_reader(pipe.read_end)
            pipe.close()
        self._late.clear()


class _Exchange:
    """One call: its output pipe, its limits, and its outcome, which comes once."""

    def __init__(self, child: Child, call_id: str, sink: Sink) -> None:
        self.call_id = call_id
        self.sink = sink
        self.pipe = OutputPipe(sink.output)
        self._child = child
        self._loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[Outcome] = self._loop.create_future()
        self._burial: asyncio.Task[None] | None = None
        # a quick call's output is taken at its end: registering the pipe would cost more than the call
        self._timers = [self._loop.call_later(PIPE_PATIENCE_S, self._hear_output)]
        self._hears_output = False

    async def within(self, limits: CallLimits) -> Outcome:
        """The outcome; a call over its time is ended, one over its memory as well."""
        if limits.memory_bytes is not None:
            self._look_at_memory(limits.memory_bytes)
        if limits.timeout_s is None:
            return await self._outcome
        try:
            async with asyncio.timeout(limits.timeout_s):
                return await self._outcome
        except TimeoutError:
            return await self.end(TimedOut(limits.timeout_s))

    async def end(self, ending: Ending) -> Outcome:
        """Ask the code to stop; when it does not, end its process and all that it started."""
        if self._outcome.cancelled():  # whoever waited for it was cancelled, and it with them
            self._outcome = self._loop.create_future()
        if self._child.conversation.asked_to_end(ending):
            self._child.process.signal_leader(signal.SIGUSR1)
            await asyncio.wait({self._outcome}, timeout=SOFT_GRACE_S)
            if not self._outcome.done():
                self._bury_once(patience_s=0.0)
            return await self._outcome
        return self._outcome.result() if self._outcome.done() else ending

    def settle(self, outcome: Outcome | None) -> None:
        """The call ended with `outcome`; None is none."""
        if outcome is not None and not self._outcome.done():
            self.pipe.drain()
            self._outcome.set_result(outcome)

    def on_death(self) -> None:
        """The process is over, or about to be: its socket closes first, and its own exit code tells more than ours."""
        self._bury_once(patience_s=TERM_GRACE_S)

    def close(self) -> None:
        """Stop listening; the pipe stays open."""
        for timer in self._timers:
            timer.cancel()
        if self._hears_output:
            self._loop.remove_reader(self.pipe.read_end)

    def _hear_output(self) -> None:
        self._hears_output = True
        self._loop.add_reader(self.pipe.read_end, self._on_output)

    def _on_output(self) -> None:
        self.pipe.take_one()
        if self.pipe.ended:  # the code closed its own output: readable for ever, and the call goes on
            self._hears_output = False
            self._loop.remove_reader(self.pipe.read_end)

    def _look_at_memory(self, limit_bytes: int) -> None:
        used = resident_bytes(self._child.process.pid) or 0
        if used <= limit_bytes:
            self._timers[1:] = [self._loop.call_later(MEMORY_LOOK_S, self._look_at_memory, limit_bytes)]
        # no asking: what allocates this fast does not wait for an answer
        elif self._child.conversation.asked_to_end(OverMemory(used, limit_bytes)):
            self._bury_once(patience_s=0.0)

    def _bury_once(self, patience_s: float) -> None:
        if self._burial is None:
            self._child.stop_listening()
            self._burial = asyncio.ensure_future(self._bury(patience_s))

    async def _bury(self, patience_s: float) -> None:
        """The last words first, then the outcome.

        The process may live on: code that closes every descriptor closes our socket too. It is of no use then.
        """
        code = await self._child.ended(patience_s=patience_s)
        self.pipe.drain()
        self.settle(self._child.bury(code))


def _is_readable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))
