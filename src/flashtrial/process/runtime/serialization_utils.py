"""Arguments in, results out: base64(cloudpickle) or plain JSON. Only children load pickles; the parent never does.

Runs inside children: standard library, cloudpickle, ormsgpack and, where it is there, pybase64.
"""

import binascii
import io
import platform

# bound by name at import: user code may replace what these modules hold (`json.dumps = …`)
from importlib import metadata
from json import dumps as json_dumps
from json import loads as json_loads
from pickle import dumps as plain_dumps
from typing import Any, Final, NamedTuple

import cloudpickle
from cloudpickle import Pickler
from cloudpickle import loads as pickle_loads
from ormsgpack import unpackb

from flashtrial.process.packing import unpacked
from flashtrial.process.runtime.base64_file import Base64File

try:
    import pybase64 as base64  # seven times as quick
except ImportError:  # a client without the worker extra
    import base64  # type: ignore[no-redef]

b64decode, b64encode = base64.b64decode, base64.b64encode


# Of these cloudpickle makes what pickle makes, at five times the price.
_PLAIN: Final = frozenset({int, float, str, bool, bytes, type(None)})
_PROTOCOL: Final = cloudpickle.DEFAULT_PROTOCOL


class BadArguments(ValueError):
    """Raised when arguments cannot be decoded; the message names the argument and what to do."""


class BadResult(ValueError):
    """Raised when a call's value cannot be encoded in the format that was asked for."""


class Arguments(NamedTuple):
    """The arguments of a call and, for an instance that is yet to be made, of its constructor."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    constructor_args: tuple[Any, ...] = ()
    constructor_kwargs: dict[str, Any] | None = None


class SerializationUtils:
    """The two formats of the wire, as functions of the format's name (`cloudpickle` or `json`)."""

    @staticmethod
    def load_arguments(payload: bytes | memoryview, serialization_format: str) -> Arguments:
        """The arguments that the parent packed with `protocol` still encoded. Raises `BadArguments`."""
        if serialization_format == "json":
            args, kwargs, constructor_args, constructor_kwargs = json_loads(bytes(payload))
            return Arguments(tuple(args), kwargs, tuple(constructor_args), constructor_kwargs)
        return _unpickled(unpacked(payload) if isinstance(payload, memoryview) else unpackb(payload))

    @staticmethod
    def dump_result(value: object, serialization_format: str) -> bytes | io.FileIO:
        """`value` as base64(cloudpickle) or JSON text, ASCII either way; large base64 in a memory file, the caller's.

        Raises `BadResult`.
        """
        return _to_json(value) if serialization_format == "json" else _to_pickle(value)


def _unpickled(packed: list[Any]) -> Arguments:
    args, kwargs, constructor_args, constructor_kwargs = packed
    return Arguments(
        tuple([_unpickle("argument", place, item) for place, item in enumerate(args, start=1)]),
        {name: _unpickle("argument", name, item) for name, item in kwargs.items()},
        tuple([_unpickle("constructor argument", place, item) for place, item in enumerate(constructor_args, start=1)]),
        {name: _unpickle("constructor argument", name, item) for name, item in constructor_kwargs.items()},
    )


def _unpickle(what: str, which: int | str, item: str | memoryview) -> object:
    try:
        data = b64decode(item, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadArguments(
            f"{what} {which!r} is not base64 ({error}); send base64(cloudpickle) strings, "
            'or plain values with serialization_format="json"'
        ) from error
    try:
        return pickle_loads(data)
    except Exception as error:  # a pickle runs code of its own and may raise anything
        raise BadArguments(
            f"{what} {which!r} cannot be loaded here: {type(error).__name__}: {error}. This worker has {_versions()}; "
            "use the "
            "same Python minor version and package versions on the client, or name the package in dependencies"
        ) from error


def _versions() -> str:
    named = [f"Python {platform.python_version()}", f"cloudpickle {cloudpickle.__version__}"]
    for package in ("numpy", "torch", "pandas"):
        try:
            named.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(named)


def _to_pickle(value: object) -> bytes | io.FileIO:
    try:
        if type(value) in _PLAIN:
            return b64encode(plain_dumps(value, _PROTOCOL))
        file = Base64File()
        Pickler(file, protocol=_PROTOCOL).dump(value)
        return file.finish()
    except Exception as error:  # __reduce__ of user classes may raise anything
        raise BadResult(
            f"the call returned a {type(value).__name__} that cannot be pickled: {type(error).__name__}: {error}. "
            "Return plain data instead (numbers, strings, lists, arrays)"
        ) from error


def _to_json(value: object) -> bytes:
    try:
        return json_dumps(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadResult(
            f"the call returned a {type(value).__name__} that is not JSON: {error}. "
            'Return plain JSON values, or ask for serialization_format="cloudpickle"'
        ) from error
