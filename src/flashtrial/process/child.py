"""The parent's half of one child: sends calls, listens, gives up, buries.

A child made under one event loop serves calls of the next: it listens in whichever loop calls it. It belongs to one
thread and takes one call at a time.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from flashtrial.process import blobs
from flashtrial.process.call_spec import CallSpec
from flashtrial.process.channel import Channel, ChannelClosed
from flashtrial.process.conversation import Conversation, Phase
from flashtrial.process.memory import resident_bytes
from flashtrial.process.outcome import Cancelled, Ending, Garbled, Outcome, OverMemory, TimedOut
from flashtrial.process.output import OutputPipe, log_late_output
from flashtrial.process.readiness import is_readable, until_readable
from flashtrial.process.sink import Sink
from flashtrial.protocol.child import Message, ProtocolError, Raised, Ready, Returned, Yielded, encode

T = TypeVar("T")

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
        self._garbled = False
        self._scratch: str | None = None

    @property
    def takes_calls(self) -> bool:
        """Whether it is idle and, as far as can be seen without waiting, alive."""
        return self.is_idle and not self._is_over()

    @property
    def is_idle(self) -> bool:
        """Whether it is idle as far as was heard; costs nothing, where `takes_calls` asks the kernel."""
        return self.conversation.phase.takes_calls and not self._garbled

    async def until_ready(self, deadline_s: float) -> None:
        """Wait until a child that starts slowly can take calls, so that its start is no part of a call's time.

        A child that dies before, or takes longer than `deadline_s`, is found out by its first call.
        """
        try:
            async with asyncio.timeout(deadline_s):
                await until_readable(self._channel.fileno())
        except TimeoutError:
            return
        except asyncio.CancelledError:
            await _in_spite_of_cancels(self.end)
            raise
        self._on_event()

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
            await _in_spite_of_cancels(lambda: exchange.end(Cancelled()))
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
        try:
            for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, grace_s)):
                if wait_s and (await asyncio.wait({waiting}, timeout=wait_s))[0]:
                    break
                self.process.signal_group(number)
            return await waiting
        finally:
            waiting.cancel()

    def bury(self, exit_code: int | None) -> Outcome | None:
        """Note that the process is over and let go of its descriptors; the outcome of the call it was in, if any.

        Whoever waits for that call gets the outcome too, after the last words.
        """
        self.stop_listening()
        outcome = self.conversation.died(exit_code)
        if self._exchange is not None:
            self._exchange.settle(outcome)
        self._channel.close()
        self.process.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        return outcome

    def _scratch_directory(self) -> str:
        """Where the child writes the modules of its calls; ours, since a child that is killed removes nothing."""
        if self._scratch is None:
            self._scratch = tempfile.mkdtemp(prefix="flashtrial-child-")
        return self._scratch

    def _listen(self) -> None:
        """Hear the child's answers and its end in this loop; kept up between calls, since registering costs more."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self.stop_listening()
        self._loop = loop
        loop.add_reader(self._channel.fileno(), self._on_event)
        if self.process.pidfd is not None:
            loop.add_reader(self.process.pidfd, self._on_over)
        for pipe in self._late:
            self._hear_late_output(pipe, loop)

    def stop_listening(self) -> None:
        """Safe to call twice, and when the loop is closed by now."""
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._channel.fileno())
            if self.process.pidfd is not None:
                loop.remove_reader(self.process.pidfd)
            for pipe in self._late:
                loop.remove_reader(pipe.read_end)

    def _on_event(self) -> None:
        try:
            for message, descriptors in self._channel.receive_ready():
                self._take(message, descriptors)
        except ChannelClosed:
            self._on_over()
        except ProtocolError as error:
            self._on_garbage(str(error))

    def _on_over(self) -> None:
        """The process is over, or about to be; when no call is under way, the next look at it finds that out."""
        self.stop_listening()
        if self._exchange is not None:
            self._exchange.on_death()

    def _on_garbage(self, reason: str) -> None:
        """User code got hold of our socket: nothing that comes from it can be believed any more."""
        self._garbled = True
        self.stop_listening()
        if self._exchange is not None and self.conversation.asked_to_end(Garbled(reason)):
            self._exchange.on_garbage()
        else:
            self.process.signal_group(signal.SIGKILL)

    def _take(self, message: Message, descriptors: list[int]) -> None:
        try:
            self._take_in(message, descriptors)
        finally:
            for descriptor in descriptors:  # nobody's: sent with what needs none
                os.close(descriptor)

    def _take_in(self, message: Message, descriptors: list[int]) -> None:
        match message:
            case Returned():
                self._settle(message, blobs.take(message.value, descriptors))
            case Raised():
                self._settle(message, b"")
            case Yielded():
                value = blobs.take(message.value, descriptors)
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
        file = blobs.to_file(spec.arguments)
        descriptors = [exchange.pipe.write_end, *([file] if file is not None else [])]
        try:
            inline = blobs.joined(spec.arguments) if file is None else None
            command = spec.command(inline, self._scratch_directory() if spec.modules else None)
            frame = encode(command, len(descriptors))  # what cannot be sent begins no call
            self.conversation.begun(spec.call_id)
            with contextlib.suppress(ChannelClosed):  # the listening side finds out how it ended
                self._channel.send_frame(frame, descriptors)
        finally:
            exchange.pipe.close_write_end()
            if file is not None:
                os.close(file)

    def _is_over(self) -> bool:
        descriptor = self.process.pidfd
        return self.process.is_doomed or (descriptor is not None and is_readable(descriptor))

    def _keep_late_output(self, exchange: "_Exchange") -> None:
        """A grandchild may still hold the call's pipe: closing our end would kill it with SIGPIPE at its next write."""
        pipe = exchange.pipe
        if pipe.ended or self.conversation.phase is Phase.GONE:
            pipe.close()
            return
        pipe.redirect(log_late_output(exchange.call_id))
        self._late.add(pipe)
        if self._loop is not None:
            self._hear_late_output(pipe, self._loop)

    def _hear_late_output(self, pipe: OutputPipe, loop: asyncio.AbstractEventLoop) -> None:
        def take() -> None:
            pipe.take_one()
            if pipe.ended:
                loop.remove_reader(pipe.read_end)
                pipe.close()
                self._late.discard(pipe)

        loop.add_reader(pipe.read_end, take)

    def close_late_output(self) -> None:
        """Let go of what outlived its call, with the child."""
        self.stop_listening()
        for pipe in self._late:
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

    def on_garbage(self) -> None:
        """The process is to be ended at once."""
        self._bury_once(patience_s=0.0)

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
        if self._burial is None or self._burial.cancelled():  # a loop that is being closed cancels every task
            self._child.stop_listening()
            self._burial = asyncio.ensure_future(self._bury(patience_s))

    async def _bury(self, patience_s: float) -> None:
        """The last words first, then the outcome.

        The process may live on: code that closes every descriptor closes our socket too. It is of no use then.
        """
        self._child.bury(await self._child.ended(patience_s=patience_s))


async def _in_spite_of_cancels(act: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `act` comes to, however often the task that waits for it is cancelled meanwhile; `act` takes bounded time.

    A loop that is being closed cancels every task: then `act` is begun again.
    """
    acting = asyncio.ensure_future(act())
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({acting})
        if acting.cancelled():
            acting = asyncio.ensure_future(act())
        elif acting.done():
            return acting.result()
