"""What runs inside a child: it takes one call at a time from its control socket and runs it.

::

    parent ── Invoke + output pipe (+ argument file) ──▶ decode → run user code → encode ── Returned | Raised ──▶ parent

A child is a function child until it is told to construct an instance; then it holds that instance for its life. It
ends when its parent's end of the socket closes, without running exit hooks: those are the user's and may hang.
Runs with anybody's packages in front of `sys.path`: standard library, cloudpickle, ormsgpack, pybase64 only.
"""

import asyncio
import contextlib
import contextvars
import ctypes
import functools
import io
import os
import signal
import site
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from flashtrial.core import env
from flashtrial.process import blobs, call_tracking
from flashtrial.process.channel import Channel, ChannelClosed
from flashtrial.process.runtime import user_code
from flashtrial.process.runtime.capture import OutputCapture
from flashtrial.process.runtime.orphans import reap_orphans
from flashtrial.process.runtime.process_state import ProcessState, is_alone
from flashtrial.process.runtime.serialization_utils import Arguments, BadArguments, BadResult, SerializationUtils
from flashtrial.protocol.child import (
    KEEPS_PIPES,
    MAX_MESSAGE_CHARS,
    MAX_SECRET_CHARS,
    MOST_SECRETS,
    Blame,
    Event,
    Invoke,
    ProtocolError,
    Raised,
    Ready,
    Returned,
    RunNote,
    Secrets,
    Setup,
    Touched,
    Yielded,
)

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_OOM_SCORE: Final = "500"
_RUN_CHANGE_S: Final = 0.5


class CallCancelled(BaseException):
    """Raised in user code when its caller wants no answer any more. Clean up and let it pass."""


class NoSuchMethod(LookupError):
    """Raised when the instance has no method of the name that was asked for."""


class InstanceHost:
    """Runs calls for one parent; holds at most one instance."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._capture = OutputCapture()
        self._instance: Any = None
        self._constructed = False
        self._runner = asyncio.Runner()
        self._modules = user_code.LocalModules({})
        self._state: ProcessState | None = None
        self._may_be_cancelled = False
        self._tracking = call_tracking.install()
        self._pid = os.getpid()
        self._sending = threading.Lock()  # a run may be touched in any thread of the user's
        self._under_way: str | None = None
        self._touches = 0

    def serve(self) -> None:
        """Take calls until the parent is gone."""
        self._capture.install()
        # A signal handler of the user's may fork in the middle of a frame of ours, which the copy would finish, too.
        os.register_at_fork(after_in_child=self._channel.close)
        signal.signal(signal.SIGUSR1, self._on_cancel)
        self._channel.send(Ready())
        while True:
            try:
                message, descriptors = self._channel.receive()
            except ChannelClosed:
                return
            match message:
                case Invoke():
                    self._take(message, descriptors)
                case Setup():
                    put_in_front(message.paths)
                    env.set_all(message.variables)
                case _:
                    raise ProtocolError(f"a child takes calls, not {type(message).__name__}")

    def _take(self, call: Invoke, descriptors: list[int]) -> None:
        carries_arguments = call.arguments is None
        if len(descriptors) > carries_arguments:
            self._capture.take_pipe(descriptors.pop(0))
        self._capture.begin()
        try:
            event, file = self._event_of(call, descriptors)
        finally:
            self._capture.end()
        if not (event.clean and KEEPS_PIPES):
            self._capture.drop_pipe()
        self._send(event, file)

    def _event_of(self, call: Invoke, descriptors: list[int]) -> tuple[Returned | Raised, io.FileIO | None]:
        self._under_way, self._touches = call.call_id, 0
        tell, hide = (functools.partial(act, call.call_id) for act in (self._tell_of, self._hide))
        self._tracking.begin(call.tracking, tell, hide)
        try:
            arguments = blobs.take(call.arguments, descriptors)
            self._may_be_cancelled = True
            value, file = _in_parts(self._run(call, arguments))
            self._may_be_cancelled = False
        except BaseException as error:  # noqa: BLE001 - the edge of user code: whatever it raises is its answer
            self._may_be_cancelled = False
            return self._raised(call, error), None
        runs = self._end_tracking(call, None)
        return Returned(call.call_id, value, self._is_clean(), runs), file

    def _on_cancel(self, _number: int, _frame: object) -> None:
        if self._may_be_cancelled:
            self._may_be_cancelled = False
            raise CallCancelled("the caller wants no answer any more")

    def _tell_of(self, call_id: str, run_id: str) -> None:
        """What was printed before belongs to the run before: all of it is heard before the next run is named."""
        self._touches += 1
        if self._touches > 1:
            self._capture.until_taken(_RUN_CHANGE_S)
        self._say_of(call_id, Touched(call_id, run_id))

    def _hide(self, call_id: str, secrets: Sequence[str]) -> None:
        texts = [text for text in secrets if 0 < len(text) <= MAX_SECRET_CHARS]
        self._say_of(call_id, Secrets(call_id, tuple(texts[:MOST_SECRETS])))

    def _say_of(self, call_id: str, event: Touched | Secrets) -> None:
        """Nothing is said of a call after its answer, nor by a process that user code forked off."""
        if os.getpid() != self._pid:  # where nobody may ever let go of the lock
            return
        with self._sending:
            if self._under_way == call_id:
                self._say(event)

    def _send(self, event: Returned | Yielded | Raised, file: io.FileIO | None = None) -> None:
        """Send `event`, and `file`, which holds its value, beside it; closes `file`."""
        self._end_if_copy(event)
        with self._sending, file or contextlib.nullcontext():
            if not isinstance(event, Yielded):
                self._under_way = None
            self._say(event, () if file is None else (file.fileno(),))
        self._end_if_copy(event)

    def _say(self, event: Event, descriptors: Sequence[int] = ()) -> None:
        """Send `event`. A copy that was forked in here has no channel: what it says is lost, and no failure."""
        try:
            self._channel.send(event, descriptors)
        except OSError:
            if os.getpid() == self._pid:
                raise

    def _end_if_copy(self, event: Returned | Yielded | Raised) -> None:
        """End a process that user code forked off and that came to our code: only the original answers, once.

        As `multiprocessing` has it: a failure is told to standard error and by the status.
        """
        if os.getpid() == self._pid:
            return
        if isinstance(event, Raised):
            os.write(2, f"in a process forked by the call: {event.message}\n".encode("utf-8", "backslashreplace"))
        os._exit(int(isinstance(event, Raised)))

    def _on_yield(self, call: Invoke) -> Callable[[Any], None] | None:
        def send(value: Any) -> None:
            encoded, file = _in_parts(SerializationUtils.dump_result(value, call.format))
            self._send(Yielded(call.call_id, encoded), file)

        return send if call.stream else None

    def _run(self, call: Invoke, packed: blobs.Blob) -> bytes | io.FileIO:
        if call.method is not None:
            return SerializationUtils.dump_result(self._call_method(call, packed), call.format)
        self._state = self._state or ProcessState()
        return contextvars.copy_context().run(self._run_function, call, packed)

    def _run_function(self, call: Invoke, packed: blobs.Blob) -> bytes | io.FileIO:
        """In a context of its own, so that what is set there (the precision of decimals, say) ends with the call."""
        if call.modules:
            self._modules = user_code.LocalModules(call.modules, call.scratch)
            self._modules.install()
        try:
            function = user_code.load(call.source, call.target)
            arguments = SerializationUtils.load_arguments(packed, call.format)
            bound = functools.partial(function, *arguments.args, **arguments.kwargs)
            value = user_code.run(bound, self._runner, self._on_yield(call))
            return SerializationUtils.dump_result(value, call.format)
        finally:
            self._end_function()

    def _end_function(self) -> None:
        self._modules.remove()
        self._runner.close()
        self._runner = asyncio.Runner()

    def _call_method(self, call: Invoke, packed: blobs.Blob) -> Any:
        if call.construct:
            self._modules = user_code.LocalModules(call.modules, call.scratch)
            self._modules.install()
            self._class = user_code.load(call.source, call.target)
        arguments = SerializationUtils.load_arguments(packed, call.format)
        if call.construct:
            self._construct(arguments)
        method = getattr(self._instance, call.method or "__call__", None)
        if not callable(method):
            raise NoSuchMethod(f"{call.target} has no method {call.method!r}; it has {_methods(self._instance)}")
        bound = functools.partial(method, *arguments.args, **arguments.kwargs)
        return user_code.run(bound, self._runner, self._on_yield(call))

    def _construct(self, arguments: Arguments) -> None:
        self._instance = self._class(*arguments.constructor_args, **(arguments.constructor_kwargs or {}))
        self._constructed = True

    def _raised(self, call: Invoke, error: BaseException) -> Raised:
        match error:
            case BadArguments() | user_code.CodeNotFound() | user_code.BadModules() | NoSuchMethod():
                blame, message = Blame.REQUEST, str(error)
            case BadResult():
                blame, message = Blame.RESULT, str(error)
            case _:
                blame, message = Blame.USER_CODE, user_code.described(error)
        runs = self._end_tracking(call, error)
        return Raised(call.call_id, blame, _cut(message), self._is_clean(), self._constructed, runs)

    def _end_tracking(self, call: Invoke, error: BaseException | None) -> tuple[RunNote, ...]:
        """How the runs stand that the call touched; a function's end with it, an instance may go on with its own."""
        return self._tracking.end(error, ends_runs=call.method is None)

    def _is_clean(self) -> bool:
        """Whether the next call finds the process as this one found it, and nobody else has this call's output pipe."""
        if self._state is not None:
            return self._state.restore()
        return is_alone() or (reap_orphans() > 0 and is_alone())


def _in_parts(encoded: bytes | io.FileIO) -> tuple[bytes | None, io.FileIO | None]:
    """What of an encoded value goes into the frame, and what beside it."""
    if not isinstance(encoded, bytes):
        return None, encoded
    descriptor = blobs.to_file((encoded,))
    return (encoded, None) if descriptor is None else (None, io.FileIO(descriptor))


def _cut(message: str) -> str:
    """`message` with its middle left out where it is longer than anybody reads."""
    half = MAX_MESSAGE_CHARS // 2
    if len(message) <= 2 * half:
        return message
    return f"{message[:half]}\n[… {len(message) - 2 * half} characters cut …]\n{message[-half:]}"


def _methods(instance: object) -> str:
    names = [name for name in dir(instance) if not name.startswith("_") and callable(getattr(instance, name, None))]
    return ", ".join(names) or "none"


def put_in_front(paths: Sequence[str]) -> None:
    """Make the packages in `paths` win over the base, here and in programs started from here; ``.pth`` files count."""
    sys.path[:0] = paths
    for path in paths:
        site.addsitedir(path)
    env.prepend("PYTHONPATH", paths)
    env.prepend("PATH", [os.path.join(path, "bin") for path in paths])  # noqa: PTH118 - strings in, strings out


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that made it ends; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose parents died, so that a daemon cannot get out of sight; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _be_first_in_line() -> None:
    """Let the kernel take this process before the worker when memory runs out; best effort."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")


def be_a_child(endpoint: socket.socket) -> NoReturn:
    """Serve calls on `endpoint` and end this process."""
    die_with_parent()
    adopt_orphans()
    _be_first_in_line()
    code = 1
    try:
        InstanceHost(Channel(endpoint)).serve()
        code = 0
    finally:
        # no exit hooks, no joining of threads: user code is done, and what it registered may hang
        os._exit(code)


def main() -> NoReturn:
    """Entry of a spawned child: the number of its control socket is the last argument."""
    be_a_child(socket.socket(fileno=int(sys.argv[-1])))
