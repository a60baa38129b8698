"""As much of GraphQL as RunPod's clients send: one operation, arguments, variables, nested selections.

Source: GraphQL specification, October 2021, section 2. Fragments, directives and more than one operation are refused.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flashtrial.local_runpod.endpoints import Json
from flashtrial.local_runpod.errors import BadRequest

MAX_DEPTH = 30

_TOKEN = re.compile(
    r"""(?P<skip>[\s,\ufeff]+|\#[^\n]*)
      | (?P<name>[_A-Za-z][_0-9A-Za-z]*)
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<mark>\.\.\.|[!$&()\[\]:=@{|}])""",
    re.VERBOSE,
)
_CONSTANTS: Mapping[str, Json] = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Field:
    """One selected field with its arguments' values, and the fields wanted of what it yields."""

    name: str
    alias: str
    arguments: Mapping[str, Json]
    selections: tuple["Field", ...]


def parse(document: str, variables: Mapping[str, Json]) -> tuple[Field, ...]:
    """The root fields of the document's operation, variables put in. Raises `BadRequest` for anything else."""
    return _Parser(document, variables).operation()


def shaped(value: Json, selections: tuple[Field, ...]) -> Json:
    """`value` with the selected fields only; a field that it lacks is null."""
    match value:
        case list():
            return [shaped(item, selections) for item in value]
        case dict() if selections:
            return {field.alias: shaped(value.get(field.name), field.selections) for field in selections}
    return value


class _Parser:
    """A recursive descent over the document's tokens, bounded in depth."""

    def __init__(self, document: str, variables: Mapping[str, Json]) -> None:
        self._tokens = list(_tokens(document))
        self._next = 0
        self._variables = variables

    def operation(self) -> tuple[Field, ...]:
        if self._peek() in ("query", "mutation"):
            self._take()
            if self._peek() not in ("(", "{"):
                self._take()  # the operation's name
            if self._peek() == "(":
                self._skip_parentheses()  # declarations of variables: their types do not matter here
        fields = self._selections(MAX_DEPTH)
        if self._peek():
            raise BadRequest("one operation at a time, without fragments")
        return fields

    def _selections(self, depth: int) -> tuple[Field, ...]:
        if depth == 0:
            raise BadRequest(f"the query is nested deeper than {MAX_DEPTH} levels")
        self._expect("{")
        fields = []
        while self._peek() != "}":
            fields.append(self._field(depth))
        self._expect("}")
        return tuple(fields)

    def _field(self, depth: int) -> Field:
        alias = name = self._name()
        if self._peek() == ":":
            self._take()
            name = self._name()
        arguments = self._arguments(depth) if self._peek() == "(" else {}
        selections = self._selections(depth - 1) if self._peek() == "{" else ()
        return Field(name, alias, arguments, selections)

    def _arguments(self, depth: int, opening: str = "(", closing: str = ")") -> dict[str, Json]:
        self._expect(opening)
        values = {}
        while self._peek() != closing:
            name = self._name()
            self._expect(":")
            values[name] = self._value(depth - 1)
        self._expect(closing)
        return values

    def _value(self, depth: int) -> Json:
        if depth <= 0:
            raise BadRequest(f"the query is nested deeper than {MAX_DEPTH} levels")
        match self._peek():
            case "{":
                return self._arguments(depth, "{", "}")
            case "[":
                return self._list(depth)
            case "$":
                self._take()
                return self._variables.get(self._name())
        return _constant(self._take())

    def _list(self, depth: int) -> list[Json]:
        self._expect("[")
        items = []
        while self._peek() != "]":
            items.append(self._value(depth - 1))
        self._expect("]")
        return items

    def _skip_parentheses(self) -> None:
        while self._take() != ")":
            pass

    def _name(self) -> str:
        token = self._take()
        if not token.isidentifier():
            raise BadRequest(f"a name was expected in the query, not {token!r}")
        return token

    def _expect(self, mark: str) -> None:
        token = self._take()
        if token != mark:
            raise BadRequest(f"{mark!r} was expected in the query, not {token!r}")

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        if not token:
            raise BadRequest("the query ends too early")
        self._next += 1
        return token


def _tokens(document: str) -> Iterator[str]:
    position = 0
    while position < len(document):
        match = _TOKEN.match(document, position)
        if match is None:
            raise BadRequest(f"the query has an unexpected {document[position]!r} at {position}")
        position = match.end()
        if match.lastgroup != "skip":
            yield match.group()


def _constant(token: str) -> Json:
    if token in _CONSTANTS:
        return _CONSTANTS[token]
    if token.isidentifier():
        return token  # an enum's value
    try:
        value: Json = json.loads(token)
    except ValueError as error:
        raise BadRequest(f"{token!r} is no value in a query") from error
    if value in (math.inf, -math.inf):  # 1e999, which no JSON answer could give back
        raise BadRequest(f"{token!r} is too large a number")
    return value
