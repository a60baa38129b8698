"""The parent's half of one child: sends calls, listens, gives up, buries.

Nothing is registered with an event loop between calls, so a child made under one loop serves calls of the next. A child
belongs to one thread and takes one call at a time.
"""

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from flashtrial.process import blobs
from flashtrial.process.call_spec import CallSpec
from flashtrial.process.channel import Channel, ChannelClosed
from flashtrial.process.conversation import Conversation, Phase
from flashtrial.process.outcome import Cancelled, Outcome, TimedOut
from flashtrial.process.output import OutputPipe, log_late_output
from flashtrial.protocol.child import Message, ProtocolError, Raised, Returned

TERM_GRACE_S: Final = 0.3


class ChildProcess(Protocol):
    """A process that was made for us, by whatever means."""

    @property
    def pid(self) -> int: ...

    @property
    def pidfd(self) -> int | None:
        """Readable when the process has ended; None where the platform has none (then the socket's end tells)."""
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

    @property
    def takes_calls(self) -> bool:
        """Whether it is idle and, as far as can be seen without waiting, alive."""
        return self.conversation.phase.takes_calls and not self._is_over()

    async def call(self, spec: CallSpec, sink: Callable[[bytes], None], timeout_s: float | None = None) -> Outcome:
        """Run one call; `sink` gets its output as it comes, and all of it before this returns.

        When this task is cancelled the child is killed, and the cancellation goes on once it is buried.
        """
        exchange = _Exchange(self, spec.call_id, sink)
        try:
            with exchange.listening():
                self._send(spec, exchange)
                async with asyncio.timeout(timeout_s):
                    return await exchange.outcome
        except TimeoutError:
            outcome = self.conversation.given_up(TimedOut(timeout_s or 0.0))
            await self.end()
            exchange.pipe.drain()
            return outcome or exchange.outcome.result()
        except asyncio.CancelledError:
            self.conversation.given_up(Cancelled())
            await asyncio.shield(self.end())
            raise
        finally:
            self._keep_late_output(exchange)

    async def end(self, grace_s: float = TERM_GRACE_S) -> Outcome | None:
        """End and bury the child; the outcome of the call it was in, if any. Safe to call twice."""
        if self.conversation.phase is Phase.GONE:
            return None
        return self.bury(await self.ended(grace_s))

    async def ended(self, grace_s: float = TERM_GRACE_S) -> int | None:
        """The exit code, once the process and everything in its session have ended: TERM, grace, KILL."""
        self.process.signal_group(signal.SIGTERM)
        waiting = asyncio.ensure_future(self.process.exit_code())
        done, _pending = await asyncio.wait({waiting}, timeout=grace_s)
        if not done:
            self.process.signal_group(signal.SIGKILL)
        return await waiting

    def bury(self, exit_code: int | None) -> Outcome | None:
        """Note that the process is over and let go of its descriptors; the outcome of the call it was in, if any."""
        outcome = self.conversation.died(exit_code)
        self._channel.close()
        self.process.close()
        return outcome

    @property
    def channel(self) -> Channel:
        return self._channel

    def _send(self, spec: CallSpec, exchange: "_Exchange") -> None:
        self.conversation.begun(spec.call_id)
        file = blobs.to_file(spec.arguments)
        command = spec.command(spec.arguments if file is None else None)
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
        return descriptor is not None and _is_readable(descriptor)

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
    """One call's listening: the control socket, the output pipe and the process's end, until the outcome is there."""

    def __init__(self, child: Child, call_id: str, sink: Callable[[bytes], None]) -> None:
        self.call_id = call_id
        self.pipe = OutputPipe(sink)
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._child = child
        self._burial: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        readers: dict[int, Callable[[], None]] = {
            self._child.channel.fileno(): self._on_event,
            self.pipe.read_end: self._on_output,
        }
        if self._child.process.pidfd is not None:
            readers[self._child.process.pidfd] = self._on_death
        for descriptor, callback in readers.items():
            loop.add_reader(descriptor, callback)
        try:
            yield
        finally:
            for descriptor in readers:
                loop.remove_reader(descriptor)

    def _on_output(self) -> None:
        self.pipe.take_one()
        if self.pipe.ended:  # the code closed its own output: readable for ever, and the call goes on
            asyncio.get_running_loop().remove_reader(self.pipe.read_end)

    def _on_event(self) -> None:
        try:
            for message, descriptors in self._child.channel.receive_ready():
                self._take(message, descriptors)
        except ChannelClosed:
            self._on_death()

    def _take(self, message: Message, descriptors: list[int]) -> None:
        match message:
            case Returned():
                value = blobs.take(message.value, lambda: descriptors.pop(0))
                self._settle(self._child.conversation.heard(message, value))
            case Raised():
                self._settle(self._child.conversation.heard(message, b""))
            case _:
                raise ProtocolError(f"a child answers calls, it does not send {type(message).__name__}")

    def _on_death(self) -> None:
        if self._burial is None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._child.channel.fileno())
            if self._child.process.pidfd is not None:
                loop.remove_reader(self._child.process.pidfd)
            self._burial = asyncio.ensure_future(self._bury())

    async def _bury(self) -> None:
        """The last words first, then the outcome.

        The process may live on: code that closes every descriptor closes our socket too. It is of no use then.
        """
        code = await self._child.ended()
        self.pipe.drain()
        self._settle(self._child.bury(code))

    def _settle(self, outcome: Outcome | None) -> None:
        if outcome is not None and not self.outcome.done():
            self.pipe.drain()
            self.outcome.set_result(outcome)


def _is_readable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))
