"""Endpoints, templates and volumes as clients describe them, and what the local RunPod makes of that."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from flashtrial.local_runpod.errors import BadRequest

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Fields: TypeAlias = Mapping[str, Json]

LARGEST_COUNT = 2**53  # JSON's own bound on exact numbers

_USABLE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_OWN_ID = re.compile(r"ft[a-z2-7]{14}")
_NO_VALUE = re.compile("[\0\ud800-\udfff]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def derived_id(name: str) -> str:
    """The id of whatever is called `name`, the same on every machine, so that what a client remembers stays good."""
    digest = hashlib.sha256(name.encode()).digest()
    return "ft" + base64.b32encode(digest).decode()[:14].lower()


def is_own_id(endpoint_id: str) -> bool:
    """Whether an id may have been made by `derived_id`."""
    return _OWN_ID.fullmatch(endpoint_id) is not None


def is_usable_id(endpoint_id: str) -> bool:
    """Whether an id, which may be another platform's, can stand in an address."""
    return _USABLE_ID.fullmatch(endpoint_id) is not None


@dataclass(frozen=True, slots=True)
class Template:
    """What a worker's container is made of; locally only its environment counts."""

    id: str
    given: Fields

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the template sets in its workers."""
        match self.given.get("env"):
            case list(pairs):
                return dict(_pair(pair) for pair in pairs)
            case None:
                return {}
        raise BadRequest("a template's env is a list of {key, value}")

    def updated(self, given: Fields) -> "Template":
        """This template with the fields of `given` over its own. Raises `BadRequest` for an unusable env."""
        template = replace(self, given={**self.given, **given, "id": self.id})
        _ = template.environment
        return template


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: `given` as clients sent it, echoed to them, and the parts that act here, with their defaults."""

    id: str
    given: Fields
    version: int = 0
    name: str = field(init=False)
    template_id: str = field(init=False)
    workers_min: int = field(init=False)
    workers_max: int = field(init=False)
    idle_timeout_s: int = field(init=False)
    execution_timeout_ms: int | None = field(init=False)

    def __post_init__(self) -> None:
        self._set("name", _text(self.given, "name", self.id))
        self._set("template_id", _text(self.given, "templateId", f"{self.id}-template"))
        self._set("workers_min", _count(self.given, "workersMin", 0))
        self._set("workers_max", _count(self.given, "workersMax", 1))
        self._set("idle_timeout_s", _count(self.given, "idleTimeout", 60))
        self._set("execution_timeout_ms", _count(self.given, "executionTimeoutMs", 0) or None)

    def updated(self, given: Fields) -> "Endpoint":
        """This endpoint with the fields of `given` over its own, a version on. Raises `BadRequest` for wrong types."""
        kept = {name: value for name, value in given.items() if name not in ("id", "template")}
        return Endpoint(self.id, {**self.given, **kept}, self.version + 1)

    def described(self) -> dict[str, Json]:
        """The endpoint as the platform describes it; the client compares what it sent with what comes back."""
        return {
            "type": "QB",
            "workersStandby": 0,
            "userId": "local",
            **self.given,
            "id": self.id,
            "name": self.name,
            "templateId": self.template_id,
            "version": self.version,
        }

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the class is frozen, and this is still its making


def _pair(pair: Json) -> tuple[str, str]:
    match pair:
        case {"key": str(key), "value": str(value)} if _VARIABLE.fullmatch(key) and _NO_VALUE.search(value) is None:
            return key, value
    raise BadRequest("an env entry is {key, value} with strings; a key is letters, digits and underscores")


def _text(given: Fields, name: str, default: str) -> str:
    match given.get(name):
        case None | "":
            return default
        case str(value):
            return value
    raise BadRequest(f"{name} must be a string")


def _count(given: Fields, name: str, default: int) -> int:
    match given.get(name):
        case None:
            return default
        case bool():
            raise BadRequest(f"{name} must be a number")
        case int(value) if 0 <= value <= LARGEST_COUNT:
            return value
    raise BadRequest(f"{name} must be a number from 0 to {LARGEST_COUNT}")
