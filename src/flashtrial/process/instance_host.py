"""What runs inside a child: it takes one call at a time from its control socket and runs it.

::

    parent ── Invoke + output pipe (+ argument file) ──▶ decode → run user code → encode ── Returned | Raised ──▶ parent

A child is a function child until it is told to construct an instance; then it holds that instance for its life. It
ends when its parent's end of the socket closes, without running exit hooks: those are the user's and may hang.
Runs with anybody's packages in front of `sys.path`: standard library, cloudpickle and ormsgpack only.
"""

import asyncio
import ctypes
import os
import signal
import site
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from flashtrial.core import env
from flashtrial.process import blobs, user_code
from flashtrial.process.capture import OutputCapture
from flashtrial.process.channel import Channel, ChannelClosed
from flashtrial.process.serialization_utils import Arguments, BadArguments, BadResult, SerializationUtils
from flashtrial.protocol.child import Blame, Invoke, ProtocolError, Raised, Returned, Setup

_PR_SET_PDEATHSIG: Final = 1


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

    def serve(self) -> None:
        """Take calls until the parent is gone."""
        self._capture.install()
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
                case _:
                    raise ProtocolError(f"a child takes calls, not {type(message).__name__}")

    def _take(self, call: Invoke, descriptors: list[int]) -> None:
        pipe = descriptors.pop(0)
        payload: bytes | None = None
        with self._capture.to(pipe):
            try:
                arguments = blobs.take(call.arguments, lambda: descriptors.pop(0))
                payload = self._run(call, arguments)
            except BaseException as error:  # noqa: BLE001 - the edge of user code: whatever it raises is its answer
                event: Returned | Raised = self._raised(call, error)
            else:
                event = Returned(call.call_id, payload, self._is_clean())
        self._answer(event)

    def _answer(self, event: Returned | Raised) -> None:
        value = event.value if isinstance(event, Returned) else None
        file = blobs.to_file(value) if value is not None else None
        if file is None:
            self._channel.send(event)
            return
        try:
            self._channel.send(Returned(event.call_id, None, event.clean), [file])
        finally:
            os.close(file)

    def _run(self, call: Invoke, packed: bytes) -> bytes:
        if call.method is not None:
            return SerializationUtils.dump_result(self._call_method(call, packed), call.format)
        self._modules = user_code.LocalModules(call.modules)
        self._modules.install()
        try:
            function = user_code.load(call.source, call.target)
            arguments = SerializationUtils.load_arguments(packed, call.format)
            value = user_code.run(function, arguments.args, arguments.kwargs, self._runner)
            return SerializationUtils.dump_result(value, call.format)
        finally:
            self._end_function()

    def _end_function(self) -> None:
        self._modules.remove()
        self._runner.close()
        self._runner = asyncio.Runner()

    def _call_method(self, call: Invoke, packed: bytes) -> Any:
        if call.construct:
            self._modules = user_code.LocalModules(call.modules)
            self._modules.install()
            self._class = user_code.load(call.source, call.target)
        arguments = SerializationUtils.load_arguments(packed, call.format)
        if call.construct:
            self._construct(arguments)
        method = getattr(self._instance, call.method or "__call__", None)
        if not callable(method):
            raise NoSuchMethod(f"{call.target} has no method {call.method!r}; it has {_methods(self._instance)}")
        return user_code.run(method, arguments.args, arguments.kwargs, self._runner)

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
        return Raised(call.call_id, blame, message, self._is_clean(), self._constructed)

    def _is_clean(self) -> bool:
        """Whether the call left no thread behind that could write into the next one's output."""
        return threading.active_count() == 1


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


def be_a_child(endpoint: socket.socket) -> NoReturn:
    """Serve calls on `endpoint` and end this process."""
    die_with_parent()
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
