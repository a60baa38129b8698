"""Names as MLflow takes them: letters, digits, ``_ - . : /`` and spaces, in the shape of a path that nothing shortens.

Everything else is written ``_x<hexadecimal>_``, and so is an underscore in front of an x: what `mlflow_name` gives is
read back by `own_name`, and no two names meet. The empty name is ``_x_``. Names of more than 250 characters are cut and
end in a digest of the whole: those do not come back, and still do not meet.
"""

import hashlib
import re

MAX_CHARS = 250
_DIGEST_CHARS = 16
_EMPTY = "_x_"

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_\-.:/ ]|_(?=x)")
_ESCAPED = re.compile(r"_x([0-9a-f]+)_")


def mlflow_name(name: str) -> str:
    """`name` for MLflow; the same one always gives the same."""
    return _fitted(_escaped(name), name)


def unreserved_name(name: str, reserved: tuple[str, ...]) -> str:
    """`mlflow_name`, of which none begins with what is `reserved` for others; those, too, meet no other."""
    escaped = _escaped(name)
    return _fitted(_of(escaped[0]) + escaped[1:] if escaped.startswith(reserved) else escaped, name)


def own_name(name: str) -> str:
    """The inverse of `mlflow_name` and `unreserved_name`, for names that were not cut."""
    if name == _EMPTY:
        return ""
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), name)


def _escaped(name: str) -> str:
    if not name:
        return _EMPTY
    escaped = "/".join(_segment(segment) for segment in _FORBIDDEN.sub(_escape, name).split("/"))
    # An empty segment would vanish in MLflow's eyes: its slash is written out.
    # So is the first dot of two at the start, which MLflow takes for a way out.
    return re.sub(r"^/|(?<=/)/|/$|^\.(?=\.)", _escape, escaped)


def _fitted(escaped: str, name: str) -> str:
    if len(escaped) <= MAX_CHARS:
        return escaped
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    return f"{escaped[: MAX_CHARS - _DIGEST_CHARS - 4]}_xx_{digest}"


def _segment(segment: str) -> str:
    return segment.replace(".", _of(".")) if segment in (".", "..") else segment


def _escape(match: re.Match[str]) -> str:
    return _of(match.group())


def _of(char: str) -> str:
    return f"_x{ord(char):x}_"
