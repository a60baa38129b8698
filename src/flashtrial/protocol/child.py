"""What the parent tells a child, what the child answers, and how both are framed on their socket.

A frame is ``length: u32 little endian | descriptors: u8 | msgpack``; the descriptors that belong to it are passed
beside it on the Unix socket, in order. Payloads of `INLINE_LIMIT` bytes and more travel as a memory file whose
descriptor is passed, so that a small frame never waits behind a large one. Runs inside children: standard library and
ormsgpack only.
"""

import dataclasses
import os
import struct
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

import ormsgpack

FRAME_HEAD: Final = struct.Struct("<IB")
INLINE_LIMIT: Final = 64 * 1024
MAX_FRAME_BYTES: Final = 1024 * 1024 * 1024
# What a parent takes from a child, whose user code may write here too: what is larger comes in memory files.
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024 if hasattr(os, "memfd_create") else MAX_FRAME_BYTES
MAX_MESSAGE_CHARS: Final = 1024 * 1024
MAX_RUN_ID_CHARS: Final = 1024
MOST_SECRETS: Final = 1000
MAX_SECRET_CHARS: Final = 16 * 1024  # more than is kept of a line
# Where no descendant of a child can get out of its sight (it is their subreaper), it can tell that nobody else has the
# pipe of a call that left nothing behind, and keeps it for the next call.
KEEPS_PIPES: Final = sys.platform == "linux"


class ProtocolError(ValueError):
    """Raised when bytes on the control socket are not what the other side should have sent."""


class Blame(StrEnum):
    """Whose fault a `Raised` event is; the parent turns it into a `FailureKind`."""

    REQUEST = "request"
    USER_CODE = "user_code"
    RESULT = "result"


@dataclass(frozen=True, slots=True)
class Setup:
    """The first command of a spawned child or a template: what goes before `sys.path`, and environment variables."""

    paths: tuple[str, ...]
    variables: dict[str, str]


@dataclass(frozen=True, slots=True)
class Preload:
    """Ask a template to import what `source` imports, as far as it may."""

    source: str
    local_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fork:
    """Ask a template for a child; the child's end of a new control socket is passed with it.

    `variables` are set in the child before anything else runs in it, CUDA included.
    """

    variables: dict[str, str]


@dataclass(frozen=True, slots=True)
class AskStatus:
    """Ask a template how the child `pid` ended."""

    pid: int


@dataclass(frozen=True, slots=True)
class RunDefaults:
    """What `flashtrial.init()` takes, during one call, for what its own arguments leave open."""

    run_id: str | None = None
    project: str | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunNote:
    """How a run stands that a call touched.

    `last` has the newest value of each metric (numbers that JSON has not, as text), `unsent` is the number of records
    of the call's process that no server has confirmed yet.
    """

    run_id: str
    url: str
    last: dict[str, float | str]
    unsent: int


class Invoke(NamedTuple):  # as `Returned`, a tuple: made and taken apart for every call, at a quarter of the price
    """Run one call; the write end of its output pipe is passed first, then the argument blob's descriptor, if any.

    No pipe is passed when the child still has that of its last call (`KEEPS_PIPES`, and that call was `clean`).
    `arguments` is what `encode_arguments` made of the call's and the constructor's arguments, still encoded: the parent
    never unpickles. `method` None means that `target` is a function. `construct` says that the instance is to be made,
    `stream` that each value of a generator is wanted as it comes, besides the list of all at the end. `scratch` is a
    directory for `modules`, the parent's to remove: a child that is killed removes nothing. `tracking` has the fields
    of `RunDefaults`.
    """

    call_id: str
    target: str
    source: str
    modules: dict[str, str]
    format: str
    method: str | None
    construct: bool
    stream: bool
    arguments: bytes | None
    scratch: str | None = None
    tracking: RunDefaults | None = None


Command = Setup | Preload | Fork | AskStatus | Invoke


@dataclass(frozen=True, slots=True)
class Ready:
    """The child's imports are done; sent once, before anything else."""


class Returned(NamedTuple):
    """The call's value, encoded: base64(cloudpickle) or JSON text, inline or in the passed descriptor.

    `clean` is false when the call left something behind (threads, processes) that must not meet the next call, or its
    output. `runs` are those that it touched, the newest first.
    """

    call_id: str
    value: bytes | None
    clean: bool
    runs: tuple[RunNote, ...] = ()


@dataclass(frozen=True, slots=True)
class Yielded:
    """One value of a generator, encoded like a result, inline or in the passed descriptor; in order."""

    call_id: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Touched:
    """The call opened a run or logged to it, for the first time; what it prints belongs to that run from now on."""

    call_id: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the configurations of the call's runs hide; what it prints from now on is recorded without these texts."""

    call_id: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Raised:
    """The call failed inside the child. `message` is ready to be shown: type, text and the user's own lines."""

    call_id: str
    blame: Blame
    message: str
    clean: bool
    constructed: bool
    runs: tuple[RunNote, ...] = ()


@dataclass(frozen=True, slots=True)
class Preloaded:
    """What a template imported, and whether its forks may still be trusted."""

    modules: tuple[str, ...]
    safe: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Forked:
    """The child's pid; a pidfd for it is passed with this."""

    pid: int


@dataclass(frozen=True, slots=True)
class NotForked:
    """The kernel refused another process."""

    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """How a forked child ended: ``os.waitstatus_to_exitcode`` (negative: signal), None when nobody knows."""

    pid: int
    exit_code: int | None


Event = Ready | Returned | Yielded | Touched | Secrets | Raised | Preloaded | Forked | Status | NotForked
Message = Command | Event

_TYPES: Final[tuple[type[Any], ...]] = (
    Setup,
    Preload,
    Fork,
    AskStatus,
    Invoke,
    Ready,
    Returned,
    Yielded,
    Raised,
    Preloaded,
    Forked,
    Status,
    NotForked,
    Touched,
    Secrets,
)
_NUMBERS: Final = {kind: number for number, kind in enumerate(_TYPES)}


def encode(message: Message, descriptors: int = 0) -> bytes:
    """The frame of `message`, which is sent with so many descriptors."""
    fields = message if isinstance(message, tuple) else [getattr(message, name) for name in message.__slots__]
    payload = ormsgpack.packb((_NUMBERS[type(message)], *fields))
    return FRAME_HEAD.pack(len(payload), descriptors) + payload


def decode(payload: bytes | bytearray | memoryview) -> Message:
    """The message in a frame's payload. Raises `ProtocolError` for anything else."""
    try:
        number, *fields = ormsgpack.unpackb(payload)
        kind = _TYPES[number]
        if kind is Invoke or kind is Returned:  # one of each for every call: looked at by hand
            return _invoke(*fields) if kind is Invoke else _returned(*fields)
        for field, types in zip(fields, _FIELDS.get(kind, ()), strict=kind in _FIELDS):
            if not isinstance(field, types):
                raise TypeError(f"{kind.__name__} has a {type(field).__name__} where none belongs")
        return _REVIVE.get(kind, kind)(*fields)  # type: ignore[no-any-return]
    except (ormsgpack.MsgpackDecodeError, TypeError, ValueError, IndexError) as error:
        raise ProtocolError(f"not a message of ours: {error}") from error


# Whoever sends events may be somebody's code that got hold of the socket; commands come from us.
_FIELDS: Final[dict[type[Any], tuple[Any, ...]]] = {
    Ready: (),
    Yielded: (str, (bytes, type(None))),
    Raised: (str, str, str, bool, bool, list),
    Preloaded: (list, bool, str),
    Forked: (int,),
    Status: (int, (int, type(None))),
    NotForked: (str,),
    Touched: (str, str),
    Secrets: (str, list),
}


def _returned(call_id: object, value: object, clean: object, runs: object) -> Returned:
    if not (isinstance(call_id, str) and isinstance(clean, bool) and isinstance(runs, list)):
        raise TypeError("what returned has a name, and says how the process stands")
    if not (value is None or isinstance(value, bytes)):
        raise TypeError(f"a value is bytes, not {type(value).__name__}")
    return Returned(call_id, value, clean, tuple(map(_run_note, runs)) if runs else ())


def _raised(call_id: str, blame: str, *others: Any) -> Raised:
    message, clean, constructed, runs = others
    return Raised(call_id, Blame(blame), message, clean, constructed, tuple(map(_run_note, runs)))


def _run_note(fields: Any) -> RunNote:
    match fields:
        case {"run_id": str(run_id), "url": str(url), "last": dict(last), "unsent": int(unsent)} if len(fields) == 4:
            if all(isinstance(name, str) and isinstance(value, int | float | str) for name, value in last.items()):
                return RunNote(run_id, url, last, unsent)
    raise TypeError("a run is told as {run_id, url, last, unsent}")


def _invoke(*fields: Any) -> Invoke:
    call = Invoke(*fields)
    tracking: Any = call.tracking
    if tracking is None:
        return call
    defaults = RunDefaults(**tracking)
    return call._replace(tracking=dataclasses.replace(defaults, tags=tuple(defaults.tags)))


def _preloaded(modules: list[str], safe: bool, reason: str) -> Preloaded:
    return Preloaded(tuple(modules), safe, reason)


def _setup(paths: list[str], variables: dict[str, str]) -> Setup:
    return Setup(tuple(paths), variables)


def _preload(source: str, local_names: list[str]) -> Preload:
    return Preload(source, tuple(local_names))


def _touched(call_id: str, run_id: str) -> Touched:
    if not 0 < len(run_id) <= MAX_RUN_ID_CHARS:
        raise ValueError(f"a run has a name of 1 to {MAX_RUN_ID_CHARS} characters, not {len(run_id)}")
    return Touched(call_id, run_id)


def _secrets(call_id: str, texts: list[object]) -> Secrets:
    named = tuple(text for text in texts if isinstance(text, str) and 0 < len(text) <= MAX_SECRET_CHARS)
    if len(named) != len(texts) or len(named) > MOST_SECRETS:
        raise ValueError(f"secrets are at most {MOST_SECRETS} texts of 1 to {MAX_SECRET_CHARS} characters")
    return Secrets(call_id, named)


_REVIVE: Final[dict[type[Any], Any]] = {
    Secrets: _secrets,
    Touched: _touched,
    Raised: _raised,
    Preloaded: _preloaded,
    Setup: _setup,
    Preload: _preload,
}
