"""A call's arguments as msgpack, without copying the large ones together first.

The result is a tuple of parts whose concatenation is the msgpack of ``[args, kwargs, constructor_args,
constructor_kwargs]``. A large string stays the object it is until it is written into the memory file.
Source of the headers: the msgpack specification, formats str 32, array 32 and map 32.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import ormsgpack

from flashtrial.protocol.child import INLINE_LIMIT

Part = bytes | str

_ARRAY_32: Final = b"\xdd"
_MAP_32: Final = b"\xdf"
_STR_32: Final = b"\xdb"
_LENGTH: Final = struct.Struct(">I")


class NotText(TypeError):
    """Raised when an argument is no string."""


def pack(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    constructor_args: Sequence[Any],
    constructor_kwargs: Mapping[str, Any],
) -> tuple[Part, ...]:
    """The parts; one when everything is small. Values are strings (base64).

    Raises `NotText` for a value that is none, and `ormsgpack.MsgpackEncodeError`.
    """
    size = 0
    for values in (args, kwargs.values(), constructor_args, constructor_kwargs.values()):
        for value in values:
            if not isinstance(value, str):
                raise NotText(f"an argument is a {type(value).__name__}")
            size += len(value)
    if size < INLINE_LIMIT:
        return (ormsgpack.packb((args, kwargs, constructor_args, constructor_kwargs)),)
    return (b"\x94", *_array(args), *_map(kwargs), *_array(constructor_args), *_map(constructor_kwargs))


def unpacked(document: memoryview) -> list[Any]:
    """What `pack` was given, with the values of a large document as slices of it: nothing is copied."""
    if document[1] != _ARRAY_32[0]:
        return ormsgpack.unpackb(document)  # type: ignore[no-any-return]
    groups: list[Any] = []
    at = 1
    for is_map in (False, True, False, True):
        (count,) = _LENGTH.unpack_from(document, at + 1)
        at += 1 + _LENGTH.size
        values = []
        for _ in range(count * (1 + is_map)):
            value, at = _text_at(document, at)
            values.append(value)
        names = (str(name, "utf-8") for name in values[::2])
        groups.append(dict(zip(names, values[1::2], strict=True)) if is_map else values)
    return groups


def _text_at(document: memoryview, at: int) -> tuple[memoryview, int]:
    """The string that begins at `at`, still encoded, and where it ends."""
    match document[at]:
        case 0xDB:
            start = at + 5
            size = int.from_bytes(document[at + 1 : start])
        case 0xDA:
            start = at + 3
            size = int.from_bytes(document[at + 1 : start])
        case 0xD9:
            start = at + 2
            size = document[at + 1]
        case short:
            start = at + 1
            size = short & 0x1F
    return document[start : start + size], start + size


def _array(values: Sequence[Any]) -> Iterator[Part]:
    yield _ARRAY_32 + _LENGTH.pack(len(values))
    for value in values:
        yield from _string(value)


def _map(values: Mapping[str, Any]) -> Iterator[Part]:
    yield _MAP_32 + _LENGTH.pack(len(values))
    for name, value in values.items():
        yield ormsgpack.packb(name)
        yield from _string(value)


def _string(value: str) -> Iterator[Part]:
    if not value.isascii():  # no base64, but to be told so it has to arrive
        yield ormsgpack.packb(value)
        return
    yield _STR_32 + _LENGTH.pack(len(value))
    yield value
