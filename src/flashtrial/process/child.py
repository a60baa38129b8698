"""The parent's half of one child: sends calls, listens, gives up, buries.

A child made under one event loop serves calls of the next: it listens in whichever loop calls it. It belongs to one
thread and takes one call at a time.
"""

import asyncio
import contextlib
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from flashtrial.process import blobs
from flashtrial.process.call_spec import CallSpec
from flashtrial.process.channel import Channel, ChannelClosed
from flashtrial.process.child_process import ChildProcess
from flashtrial.process.conversation import Conversation, Phase
from flashtrial.process.exchange import TERM_GRACE_S, Exchange
from flashtrial.process.memory import ResidentBytes
from flashtrial.process.outcome import Cancelled, Garbled, Outcome
from flashtrial.process.output import OutputPipe, log_late_output
from flashtrial.process.readiness import is_readable, until_readable
from flashtrial.process.sink import Sink
from flashtrial.protocol.child import (
    KEEPS_PIPES,
    Message,
    ProtocolError,
    Raised,
    Ready,
    Returned,
    Secrets,
    Touched,
    Yielded,
    encode,
)

T = TypeVar("T")

QUICK_S: Final = 0.001
ANSWER_PATIENCE_MS: Final = 1
TURN_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one call may take: seconds of wall time, resident bytes of its process; None is no limit."""

    timeout_s: float | None = None
    memory_bytes: int | None = None


NO_LIMITS: Final = CallLimits()


class Child:
    """One child process and the calls it is given.

    `has_taken_call` is false when the last one did not reach it: it was over, or deaf, and nothing of the call was run.
    """

    def __init__(self, process: ChildProcess, channel: Channel, *, holds_instance: bool = False) -> None:
        self.process = process
        self.conversation = Conversation(holds_instance=holds_instance)
        self._channel = channel
        self._late: set[OutputPipe] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exchange: Exchange | None = None
        self._pipe: OutputPipe | None = None
        self._answer = select.poll()
        self._unsent = memoryview(b"")
        self.has_taken_call = False
        self._is_quick = False
        self._turn_s = 0.0
        self._garbled = False
        self._resident = ResidentBytes(process.pid)
        self._scratch: str | None = None

    @property
    def takes_calls(self) -> bool:
        """Whether it is idle and, as far as can be seen without waiting, alive."""
        return self.is_idle and not self._is_over()

    @property
    def is_idle(self) -> bool:
        """Whether it is idle as far as was heard; costs nothing, where `takes_calls` asks the kernel."""
        return self.conversation.phase.takes_calls and not self._garbled

    def resident_bytes(self) -> int | None:
        """Bytes of its process that are in memory, shared pages counted in full; None when nobody can tell."""
        return None if self.conversation.phase is Phase.GONE else self._resident.now()

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
        began_s = time.monotonic()
        if began_s - self._turn_s > TURN_S:  # quick calls never wait for the loop, and others want their turn
            self._turn_s = began_s
            await asyncio.sleep(0)
        self._listen()
        exchange = self._exchange = Exchange(self, spec.call_id, sink, self._pipe_to(sink))
        try:
            self._send(spec, exchange)
            if self._is_quick and self._answer.poll(ANSWER_PATIENCE_MS):
                self._on_event()
            return exchange.outcome or await exchange.within(limits)
        except asyncio.CancelledError:
            await _in_spite_of_cancels(lambda: exchange.end(Cancelled()))
            raise
        finally:
            exchange.close()
            self._exchange = None
            self._is_quick = time.monotonic() - began_s < QUICK_S
            self._put_away(exchange)

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
        self._resident.close()
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
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
        self._answer.register(self._channel, select.POLLIN)
        if self.process.pidfd is not None:
            loop.add_reader(self.process.pidfd, self._on_over)
        for pipe in self._late:
            self._hear_late_output(pipe, loop)

    def stop_listening(self) -> None:
        """Safe to call twice, and when the loop is closed by now."""
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._channel.fileno())
            loop.remove_writer(self._channel.fileno())
            if self.process.pidfd is not None:
                loop.remove_reader(self.process.pidfd)
            for pipe in self._late:
                loop.remove_reader(pipe.read_end)

    def hear(self) -> None:
        """Take what the child has said by now; never waits."""
        if self._loop is not None:
            self._on_event()

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
            case Returned() | Raised() if self._unsent:
                raise ProtocolError("an answer to a call that was not heard to its end")
            case Returned():
                self._settle(message, blobs.take(message.value, descriptors))
            case Raised():
                self._settle(message, b"")
            case Yielded():
                value = blobs.take(message.value, descriptors)
                if self._exchange is not None and self.conversation.concerns(message.call_id):
                    self._exchange.sink.yielded(bytes(value))
            case Touched() | Secrets():
                self._pass_on(message)
            case Ready():
                pass
            case _:
                raise ProtocolError(f"a child answers calls, it does not send {type(message).__name__}")

    def _pass_on(self, message: Touched | Secrets) -> None:
        if self._exchange is None or not self.conversation.concerns(message.call_id):
            return
        if isinstance(message, Touched):
            self._exchange.sink.touched(message.run_id)
        else:
            self._exchange.sink.secrets(message.texts)

    def _settle(self, event: Returned | Raised, value: blobs.Blob) -> None:
        outcome = self.conversation.heard(event, value)
        if self._exchange is not None and outcome is not None:
            self._exchange.keeps_pipe = event.clean and KEEPS_PIPES
            self._exchange.settle(outcome)

    def _pipe_to(self, sink: Sink) -> OutputPipe:
        """The pipe that the child still has, where nobody else can have it, else a fresh one."""
        pipe, self._pipe = self._pipe, None
        if pipe is None:
            return OutputPipe(sink.output)
        pipe.redirect(sink.output)
        return pipe

    def _send(self, spec: CallSpec, exchange: Exchange) -> None:
        file = blobs.to_file(spec.arguments)
        descriptors = [end for end in (exchange.pipe.write_end, file) if end is not None and end >= 0]
        try:
            inline = blobs.joined(spec.arguments) if file is None else None
            command = spec.command(inline, self._scratch_directory() if spec.modules else None)
            frame = encode(command, len(descriptors))  # what cannot be sent begins no call
            self.conversation.begun(spec.call_id)
            self._unsent = self._channel.send_begun(frame, descriptors)
            self.has_taken_call = not self._unsent
            if self._unsent:  # larger than the socket's buffer, and who knows when the child will read
                asyncio.get_running_loop().add_writer(self._channel.fileno(), self._send_more)
        except ChannelClosed:  # the listening side finds out how it ended
            self.has_taken_call = False
        finally:
            exchange.pipe.close_write_end()
            if file is not None:
                os.close(file)

    def _send_more(self) -> None:
        with contextlib.suppress(ChannelClosed):  # the listening side finds out how it ended
            self._unsent = self._channel.send_more(self._unsent)
            if self._unsent:
                return
            self.has_taken_call = True
        asyncio.get_running_loop().remove_writer(self._channel.fileno())

    def _is_over(self) -> bool:
        descriptor = self.process.pidfd
        return self.process.is_doomed or (descriptor is not None and is_readable(descriptor))

    def _put_away(self, exchange: Exchange) -> None:
        """A grandchild may still hold the call's pipe: closing our end would kill it with SIGPIPE at its next write."""
        pipe = exchange.pipe
        if pipe.ended or self.conversation.phase is Phase.GONE:
            pipe.close()
            return
        if exchange.keeps_pipe:
            self._pipe = pipe
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
