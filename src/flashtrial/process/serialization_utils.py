"""Arguments in, results out: base64(cloudpickle) or plain JSON. Only children load pickles; the parent never does.

Runs inside children: standard library, cloudpickle, ormsgpack and, where it is there, pybase64.
"""

import binascii
import platform

# bound by name at import: user code may replace what these modules hold (`json.dumps = …`)
from dataclasses import dataclass
from importlib import metadata
from json import dumps as json_dumps
from json import loads as json_loads
from typing import Any

import cloudpickle
from cloudpickle import dumps as pickle_dumps
from cloudpickle import loads as pickle_loads
from ormsgpack import unpackb

try:
    import pybase64 as base64  # seven times as quick
except ImportError:  # a client without the worker extra
    import base64  # type: ignore[no-redef]

b64decode, b64encode = base64.b64decode, base64.b64encode


class BadArguments(ValueError):
    """Raised when arguments cannot be decoded; the message names the argument and what to do."""


class BadResult(ValueError):
    """Raised when a call's value cannot be encoded in the format that was asked for."""


@dataclass(frozen=True, slots=True)
class Arguments:
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
            return _arguments(json_loads(bytes(payload)), _as_is)
        return _arguments(unpackb(payload), _unpickle)

    @staticmethod
    def dump_result(value: object, serialization_format: str) -> bytes:
        """`value` as base64(cloudpickle) or JSON text, ASCII either way. Raises `BadResult`."""
        return _to_json(value) if serialization_format == "json" else _to_pickle(value)


def _arguments(packed: list[Any], load: Any) -> Arguments:
    args, kwargs, constructor_args, constructor_kwargs = packed
    return Arguments(
        tuple(load(f"argument {place}", item) for place, item in enumerate(args, start=1)),
        {name: load(f"argument {name!r}", item) for name, item in kwargs.items()},
        tuple(load(f"constructor argument {place}", item) for place, item in enumerate(constructor_args, start=1)),
        {name: load(f"constructor argument {name!r}", item) for name, item in constructor_kwargs.items()},
    )


def _as_is(_name: str, item: object) -> object:
    return item


def _unpickle(name: str, item: str) -> object:
    try:
        data = b64decode(item, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadArguments(
            f"{name} is not base64 ({error}); send base64(cloudpickle) strings, "
            'or plain values with serialization_format="json"'
        ) from error
    try:
        return pickle_loads(data)
    except Exception as error:  # a pickle runs code of its own and may raise anything
        raise BadArguments(
            f"{name} cannot be loaded here: {type(error).__name__}: {error}. This worker has {_versions()}; use the "
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


def _to_pickle(value: object) -> bytes:
    try:
        return b64encode(pickle_dumps(value))
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
