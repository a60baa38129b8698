"""What a run tells its companion process, and how: one frame of msgpack on their socket, sent before it has started."""

import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

import ormsgpack

from flashtrial.protocol.child import MOST_SECRETS
from flashtrial.tracking.capture.lines import MARGIN_BYTES, MAX_LINE_BYTES
from flashtrial.tracking.capture.subject import Subject
from flashtrial.tracking.settings.limits import OutboxLimits, WhenFull

HEAD: Final = struct.Struct("<I")
FINISH: Final = b"finish\n"
MASK: Final = b"mask "  # and a list of secrets, in hexadecimal msgpack
MAX_BYTES: Final = 128 * 1024  # what a socket's buffer holds in any case: the sender never waits for the reader
PORTION_BYTES: Final = MAX_LINE_BYTES + MARGIN_BYTES  # of secrets; in hexadecimal a kernel takes it whole or not at all
_PORTIONS_AT_ONCE: Final = 4


class NoAssignment(ConnectionError):
    """Raised when the run's process went away before it said what there is to do."""


@dataclass(frozen=True, slots=True)
class Piped:
    """One stream: what is written to `read_end`'s other end goes to `original` and is recorded as `stream`."""

    stream: str
    read_end: int
    original: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """`prefix` stands before each line; `subject` is there where facts are wanted; `secrets` are masked, too.

    `backends` and the limits are those of the run: its console and facts go where its metrics go.
    """

    run_id: str
    outbox: bytes  # a path need not be a text
    opened_ms: int
    sends: bool
    prefix: str
    streams: tuple[Piped, ...]
    subject: Subject | None
    backends: tuple[str, ...]
    outbox_bytes: int
    segment_bytes: int
    when_full: str
    secrets: tuple[str, ...] = ()

    @property
    def limits(self) -> OutboxLimits:
        """The run's. Nobody hears a companion's `OutboxFull`, and a stream that waits for room would stop the program:
        with either, what does not fit is left out."""
        kept = WhenFull.DROP if self.when_full == WhenFull.DROP else WhenFull.RAISE
        return OutboxLimits(self.segment_bytes, self.outbox_bytes, kept)


def send(control: socket.socket, assignment: Assignment) -> None:
    """Never blocks. Raises OSError."""
    payload = ormsgpack.packb(assignment)
    if len(payload) > MAX_BYTES:
        raise OSError(f"{len(payload)} bytes to say, at most {MAX_BYTES} can be")
    control.sendall(HEAD.pack(len(payload)) + payload)


def receive(control: socket.socket) -> Assignment:
    """Raises `NoAssignment`."""
    (length,) = HEAD.unpack(_exactly(control.recv, HEAD.size))
    said: dict[str, Any] = ormsgpack.unpackb(_exactly(control.recv, length))
    streams = tuple(Piped(**each) for each in said.pop("streams"))
    subject = said.pop("subject")
    said |= {name: tuple(said[name]) for name in ("backends", "secrets")}
    return Assignment(**said, streams=streams, subject=_subject(subject) if subject else None)


def portions(secrets: Iterable[str]) -> Iterator[list[str]]:
    """At most `MOST_SECRETS` of them, at most `PORTION_BYTES` at a time; a longer one is in no line that is kept."""
    portion: list[str] = []
    size_bytes = 0
    for secret in islice(secrets, MOST_SECRETS):
        length = len(secret.encode("utf-8", "backslashreplace"))
        if length > PORTION_BYTES:
            continue
        if size_bytes + length > PORTION_BYTES:
            yield portion
            portion, size_bytes = [], 0
        portion.append(secret)
        size_bytes += length
    if portion:
        yield portion


def told_at_once(secrets: Iterable[str]) -> tuple[str, ...]:
    """Those of them that there is room for in an assignment."""
    return tuple(chain.from_iterable(islice(portions(secrets), _PORTIONS_AT_ONCE)))


def mask_messages(secrets: Iterable[str]) -> Iterator[bytes]:
    """What tells the companion of secrets that are known later: each is sent whole or not at all, and is a line of its
    own whatever was sent before it."""
    return (b"\n" + MASK + ormsgpack.packb(portion).hex().encode() + b"\n" for portion in portions(secrets))


def secrets_of(message: bytes) -> list[str]:
    """What one of `mask_messages` told, less its line's ends; nothing of other messages."""
    if not message.startswith(MASK):
        return []
    try:
        told = ormsgpack.unpackb(bytes.fromhex(message.removeprefix(MASK).decode()))
    except ValueError:
        return []
    return [secret for secret in told if isinstance(secret, str)] if isinstance(told, list) else []


def _subject(said: dict[str, Any]) -> Subject:
    return Subject(**{**said, "command": tuple(said["command"]), "paths": tuple(said["paths"])})


def _exactly(receive_some: Callable[[int], bytes], length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = receive_some(length - len(data))
        if not more:
            raise NoAssignment
        data += more
    return data
