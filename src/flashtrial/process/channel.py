"""Frames and descriptors over a Unix stream socket; the same code at both ends.

A channel belongs to one thread. Sending blocks until the kernel took the frame: frames are small (large payloads are
memory files) and the other side is always reading, so that is microseconds. Receiving comes in two forms: `receive`
blocks, `receive_ready` takes what is there, for an event loop. What cannot be understood is a `ProtocolError`, after
which a channel is of no use.
"""

import array
import contextlib
import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence

from flashtrial.protocol.child import FRAME_HEAD, MAX_FRAME_BYTES, Message, ProtocolError, decode, encode

_CHUNK_BYTES = 128 * 1024
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_WITHOUT_WAITING = _CLOSE_ON_EXEC | socket.MSG_DONTWAIT
_MAX_DESCRIPTORS = 8
_DESCRIPTOR_BYTES = array.array("i").itemsize
_ANCILLARY_BYTES = socket.CMSG_SPACE(_MAX_DESCRIPTORS * _DESCRIPTOR_BYTES)


class ChannelClosed(ConnectionError):
    """Raised when the other side is gone."""


class Channel:
    """One end of a control socket. Owns the socket, and the descriptors it received until they are handed out."""

    def __init__(self, endpoint: socket.socket, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._socket = endpoint
        self._max_frame_bytes = max_frame_bytes
        self._pending = bytearray()
        self._received = memoryview(bytearray(_CHUNK_BYTES))
        self._buffers = [self._received]  # made once: a fresh buffer for each read costs more than the read
        self._descriptors: deque[int] = deque()

    def fileno(self) -> int:
        return self._socket.fileno()

    def set_timeout(self, timeout_s: float | None) -> None:
        """How long `send` and `receive` may block before they raise `TimeoutError`; None waits for ever."""
        self._socket.settimeout(timeout_s)

    def hang_up(self) -> None:
        """Tell both sides that this is over: whoever waits in `receive`, in any thread, gets `ChannelClosed`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket and whatever descriptors nobody took. Safe to call twice."""
        self._socket.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send `message`; the kernel duplicates `descriptors`, the caller keeps its own. Raises `ChannelClosed`."""
        self.send_frame(encode(message, len(descriptors)), descriptors)

    def send_frame(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """`send`, for a message that is encoded already."""
        try:
            # most frames carry none, and passing none costs as much as passing some
            sent = socket.send_fds(self._socket, [data], list(descriptors)) if descriptors else self._socket.send(data)
            while sent < len(data):
                sent += self._socket.send(data[sent:])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosed("the other side of the control socket is gone") from error

    def send_begun(self, data: bytes, descriptors: Sequence[int] = ()) -> memoryview:
        """Send what the kernel takes of a frame without waiting, all of `descriptors` with it; what is left of it.

        For a socket in which nothing waits to be read. Raises `ChannelClosed`.
        """
        try:
            if descriptors:
                sent = socket.send_fds(self._socket, [data], list(descriptors), socket.MSG_DONTWAIT)
            else:
                sent = self._socket.send(data, socket.MSG_DONTWAIT)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosed("the other side of the control socket is gone") from error
        return memoryview(data)[sent:]

    def send_more(self, rest: memoryview) -> memoryview:
        """Send what the kernel takes now of what `send_begun` left; what is left then. Raises `ChannelClosed`."""
        try:
            return rest[self._socket.send(rest, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return rest
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosed("the other side of the control socket is gone") from error

    def receive(self) -> tuple[Message, list[int]]:
        """The next message and its descriptors, the caller's to close. Blocks. Raises `ChannelClosed`."""
        while (received := self._next()) is None:
            self._read(_CLOSE_ON_EXEC)
        return received

    def receive_ready(self) -> Iterator[tuple[Message, list[int]]]:
        """The messages that one read brings; none when nothing is there. Never waits. Raises `ChannelClosed`."""
        with contextlib.suppress(BlockingIOError):
            self._read(_WITHOUT_WAITING)
        while (received := self._next()) is not None:
            yield received

    def _read(self, flags: int) -> None:
        try:
            count, ancillary, _flags, _address = self._socket.recvmsg_into(self._buffers, _ANCILLARY_BYTES, flags)
        except ConnectionResetError as error:
            raise ChannelClosed("the other side of the control socket is gone") from error
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                whole = len(content) - len(content) % _DESCRIPTOR_BYTES
                self._descriptors.extend(array.array("i", content[:whole]))
        if len(self._descriptors) > _MAX_DESCRIPTORS:
            raise ProtocolError(f"more than {_MAX_DESCRIPTORS} descriptors that no frame asks for")
        if not count:
            raise ChannelClosed("the other side of the control socket is gone")
        self._pending += self._received[:count]

    def _next(self) -> tuple[Message, list[int]] | None:
        """The first message of what was read, taken out; None when it is not whole."""
        pending = self._pending
        if len(pending) < FRAME_HEAD.size:
            return None
        length, count = FRAME_HEAD.unpack_from(pending)
        if length > self._max_frame_bytes:
            raise ProtocolError(f"a frame of {length} bytes; at most {self._max_frame_bytes} are sent")
        end = FRAME_HEAD.size + length
        if len(pending) < end:
            return None
        if count > len(self._descriptors):
            raise ProtocolError(f"a frame that wants {count} descriptors, sent with {len(self._descriptors)}")
        message = decode(pending[FRAME_HEAD.size : end])
        del pending[:end]
        return message, [self._descriptors.popleft() for _ in range(count)]


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, closed on exec unless passed on."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
