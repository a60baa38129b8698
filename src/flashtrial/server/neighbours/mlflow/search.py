"""MLflow's filter and order of runs and experiments, over what answers show of them. Pure.

``metrics.loss < 0.1 AND params.`model name` LIKE 'res%' AND attributes.status = 'FINISHED'``; terms are joined by AND
alone, as MLflow has it.
"""

import fnmatch
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flashtrial.server.neighbours.mlflow.errors import INVALID, MlflowError
from flashtrial.server.neighbours.mlflow.fields import DATASETS, Asked, check_comparison, kind_and_name

MAX_CHARS = 10_000

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:''|\\'|[^'])*')
    | (?P<name>(?:[A-Za-z_][\w-]*\s*\.\s*)?(?:"[^"]*"|`[^`]*`|[A-Za-z_][\w./-]*))
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    | (?P<sign>!=|>=|<=|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)
_ONE_NAME = re.compile(r"""(?:[\w-]+\s*\.\s*)?(?:"[^"]*"|`[^`]*`|[^\s"`]+)|[Rr]un [Nn]ame""")
_WORDS = ("AND", "LIKE", "ILIKE", "IN", "NOT", "IS", "NULL")


@dataclass(frozen=True, slots=True)
class Field:
    """A metric, a parameter, a tag, the data sets, or something of the run itself (`kind` ``info``)."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison."""

    field: Field
    sign: str
    value: Any


def parse_filter(said: object, asked: Asked = Asked.RUNS) -> list[Term]:
    """The terms of a filter; none for an empty one. Raises `MlflowError`."""
    text = str(said or "").strip()
    if len(text) > MAX_CHARS:
        raise MlflowError("the filter is too long", INVALID)
    tokens = _tokens(text)
    terms: list[Term] = []
    while tokens:
        if terms and _take(tokens)[1].upper() != "AND":
            raise _bad(text)
        term = _term(tokens, text, asked)
        check_comparison((term.field.kind, term.field.name), term.sign, term.value, asked)
        terms.append(term)
    return terms


def holds(values: Mapping[str, Mapping[str, Any]], terms: Sequence[Term]) -> bool:
    """Whether all terms hold for something with `values` by kind: metrics, params, tags, info."""
    return all(
        any(_holds(each, term) for each in _all_of(values.get(term.field.kind, {}).get(term.field.name)))
        for term in terms
    )


def parse_order(said: object, asked: Asked = Asked.RUNS) -> list[tuple[Field, bool]]:
    """The fields to sort by, each with whether descending. Raises `MlflowError`."""
    if said is None:
        return []
    if not isinstance(said, list):
        raise MlflowError("order_by is a list of texts", INVALID)
    return [_order(str(item), asked) for item in said]


def sort_key(values: Mapping[str, Mapping[str, Any]], field: Field, *, descending: bool) -> tuple[Any, ...]:
    """A key for `list.sort`: numbers by size, then infinities where they belong, then NaN, then what has nothing."""
    value = values.get(field.kind, {}).get(field.name)
    if value is None:
        return (2, 0.0, ())
    if isinstance(value, int | float):
        if math.isnan(value):
            return (1, 0.0, ())
        return (0, -value if descending else value, ())
    text = str(value)
    return (0, 0.0, (*(-ord(char) for char in text), 1) if descending else tuple(map(ord, text)))


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            if not text[position:].strip():
                break
            raise _bad(text)
        found.append((match.lastgroup, match.group(match.lastgroup)))
        position = match.end()
    return found


def _term(tokens: list[tuple[str, str]], text: str, asked: Asked) -> Term:
    kind, word = _take(tokens)
    if kind != "name":
        raise _bad(text)
    field = _field(word, asked)
    _, sign = _take(tokens)
    sign = sign.upper()
    if sign in ("NOT", "IS"):
        sign = f"{sign} {_take(tokens)[1].upper()}"
        if sign == "IS NOT":
            sign = f"{sign} {_take(tokens)[1].upper()}"
    match sign:
        case "IS NULL" | "IS NOT NULL":
            return Term(field, sign, None)
        case "IN" | "NOT IN":
            return Term(field, sign, _listed(tokens, text))
        case "=" | "!=" | ">" | ">=" | "<" | "<=" | "LIKE" | "ILIKE":
            return Term(field, sign, _value(_take(tokens), text))
    raise _bad(text)


def _listed(tokens: list[tuple[str, str]], text: str) -> list[Any]:
    if _take(tokens)[1] != "(":
        raise _bad(text)
    found = []
    while True:
        found.append(_value(_take(tokens), text))
        match _take(tokens)[1]:
            case ")":
                return found
            case ",":
                continue
            case _:
                raise _bad(text)


def _take(tokens: list[tuple[str, str]]) -> tuple[str, str]:
    if not tokens:
        raise MlflowError("Invalid clause(s) in filter string: it ends too early", INVALID)
    return tokens.pop(0)


def _value(token: tuple[str, str], text: str) -> Any:
    kind, word = token
    if kind == "number":
        return float(word)
    if kind == "text":
        return word[1:-1].replace("''", "'")  # a backslash is one: paths of Windows have them
    if kind == "name" and word.startswith('"') and word.upper() not in _WORDS:
        return word[1:-1]
    raise _bad(text)


def _field(word: str, asked: Asked) -> Field:
    head, dot, rest = (None, "", word) if word[:1] in ('"', "`") else word.partition(".")
    if not dot:
        head, rest = None, word
    return Field(*kind_and_name(head, _bare(rest.strip()), asked))


def _bare(name: str) -> str:
    return name[1:-1] if name[:1] in ('"', "`") else name


def _order(said: str, asked: Asked) -> tuple[Field, bool]:
    text = said.strip()
    descending = bool(re.search(r"\sdesc$", text, re.IGNORECASE))
    text = re.sub(r"\s(asc|desc)$", "", text, flags=re.IGNORECASE).strip()
    if not _ONE_NAME.fullmatch(text):
        raise MlflowError(f"Invalid order_by clause {said[:200]!r}", INVALID)
    field = _field(text, asked)
    if field.kind == DATASETS:
        raise MlflowError("runs are not ordered by their data sets", INVALID)
    return field, descending


def _all_of(actual: Any) -> list[Any]:
    """What may hold: any of several data sets, or the one value."""
    return actual if isinstance(actual, list) else [actual]


def _holds(actual: Any, term: Term) -> bool:
    if term.sign.startswith("IS"):
        return (actual is None) == (term.sign == "IS NULL")
    if actual is None:
        return False
    match term.sign:
        case "IN" | "NOT IN":
            return (actual in term.value) == (term.sign == "IN")
        case "LIKE":
            return _is_like(str(actual), str(term.value))
        case "ILIKE":
            return _is_like(str(actual).lower(), str(term.value).lower())
    return _compared(actual, term.sign, term.value)


def _compared(actual: Any, sign: str, wanted: Any) -> bool:
    if isinstance(actual, int | float) and isinstance(wanted, str):
        try:
            wanted = float(wanted)
        except ValueError:
            return sign == "!="
    if isinstance(actual, str) != isinstance(wanted, str):
        actual, wanted = str(actual), str(wanted)
    return bool(
        {
            "=": actual == wanted,
            "!=": actual != wanted,
            ">": actual > wanted,
            ">=": actual >= wanted,
            "<": actual < wanted,
            "<=": actual <= wanted,
        }[sign]
    )


def _is_like(actual: str, pattern: str) -> bool:
    """SQL's LIKE, by the shell's patterns, which are matched in linear time."""
    quoted = re.sub(r"[*?\[]", lambda match: f"[{match.group()}]", pattern)
    return fnmatch.fnmatchcase(actual, quoted.replace("%", "*").replace("_", "?"))


def _bad(text: str) -> MlflowError:
    return MlflowError(f"Invalid clause(s) in filter string: {text[:500]!r}", INVALID)
