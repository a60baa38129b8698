"""Dependencies as their author wrote them → requirements; requirements and a base → what is missing. Pure.

Only PEP 508 gets through: a name, extras, versions, a marker, or a name with an https address. The strings are never
handed to a command; what was parsed is printed anew into a file that the installer reads.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from flashtrial.worker.install.install_errors import RequirementRefused

_SCHEMES = frozenset({"http", "https", "git+https"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHELL = re.compile(r"[`$|&;<>\\\"'{}*?#!]")
_FILE = re.compile(r"^[\w.+-]+\.(whl|tar\.gz|zip|txt|toml|cfg)$")  # the syntax would let these pass as names
_PATH = re.compile(r"^[.~/\\]|^[A-Za-z]:[\\/]|^[\w.-]+/")
_A_PATH = "it is a local path, which does not exist on the worker; send the source in `modules`"
_URL_UNSAFE = re.compile(r"[`$|;<>\\\"'{}]")  # uv replaces ${…} in addresses by variables of its environment


class Package(Protocol):
    """An installed distribution, as far as it decides whether a requirement is met."""

    @property
    def version(self) -> str: ...

    @property
    def requires(self) -> Sequence[str]:
        """Its own requirements (Requires-Dist); read only when extras are asked for."""
        ...


@lru_cache(maxsize=256)
def parse(dependencies: tuple[str, ...]) -> tuple[Requirement, ...]:
    """The requirements in `dependencies`, in their order, less repetitions and markers that do not concern us.

    Raises `RequirementRefused` naming the first entry that is none.
    """
    parsed = (parse_one(text) for text in dependencies)
    return tuple(dict.fromkeys(one for one in parsed if one.marker is None or one.marker.evaluate()))


def parse_one(text: str) -> Requirement:
    """The requirement that `text` spells. Raises `RequirementRefused` with the reason in the user's terms."""
    if reason := _forbidden(text.strip()):
        raise RequirementRefused(f"dependency {text!r} refused: {reason}")
    try:
        requirement = Requirement(text.strip())
    except InvalidRequirement as error:
        raise RequirementRefused(f"dependency {text!r} refused: {_not_a_requirement(text.strip(), error)}") from error
    if requirement.url is not None and (reason := _bad_address(requirement.url)):
        raise RequirementRefused(f"dependency {text!r} refused: {reason}")
    return requirement


def _forbidden(text: str) -> str:
    if not text:
        return "it is empty"
    if _CONTROL.search(text):
        return "it contains a line break or another control character"
    if text.startswith("-"):
        return "it is an option of an installer; only package requirements are taken"
    return _A_PATH if _FILE.match(text) else ""


def _not_a_requirement(text: str, error: InvalidRequirement) -> str:
    """Why `text` did not parse, in words that fit what its author was about."""
    if re.search(r"(^|\s)--?[a-z]", text):
        return "it contains an option of an installer; only package requirements are taken"
    if _PATH.search(text):
        return _A_PATH
    if re.match(r"[a-z+]+:", text, re.IGNORECASE):
        return "it is a bare address; write 'name @ https://…'"
    if match := _SHELL.search(text):
        return f"it contains the shell character {match[0]!r}"
    return f"it is not a requirement such as 'numpy>=2': {str(error).splitlines()[0]}"


def _bad_address(url: str) -> str:
    if match := _URL_UNSAFE.search(url):
        return f"its address contains the character {match[0]!r}"
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname or parts.hostname.startswith("-"):
        return "it refers to a local path or an unknown kind of address; http, https and git+https are taken"
    return ""


def normalised(requirement: Requirement) -> str:
    """One spelling for all spellings of the same requirement, markers left out (see `parse`)."""
    extras = f"[{','.join(sorted(map(canonicalize_name, requirement.extras)))}]" if requirement.extras else ""
    name = canonicalize_name(requirement.name) + extras
    if requirement.url is not None:
        return f"{name} @ {requirement.url}"
    return name + ",".join(sorted(map(str, requirement.specifier)))


def missing(requirements: Sequence[Requirement], base: Mapping[str, Package]) -> tuple[Requirement, ...]:
    """Those of `requirements` that `base` (canonical name → package) does not meet, in their order.

    An extra is met when what it asks for is there, extras of that included. An address is never met: nobody knows
    what lies behind it today.
    """
    return tuple(one for one in requirements if not _is_met(one, base, frozenset()))


def _is_met(requirement: Requirement, base: Mapping[str, Package], asked: frozenset[str]) -> bool:
    package = base.get(canonicalize_name(requirement.name))
    if package is None or requirement.url is not None or not _has_version(requirement, package.version):
        return False
    spelled = normalised(requirement)
    if spelled in asked:  # extras may ask for each other in a circle
        return True
    return all(_is_met(needed, base, asked | {spelled}) for needed in _of_extras(requirement, package))


def _has_version(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _of_extras(requirement: Requirement, package: Package) -> Iterator[Requirement]:
    """What the extras add: the package's requirements whose markers hold with one of them, and not without."""
    if requirement.extras:
        yield from (one for one in map(_parsed_metadata, package.requires) if _is_added(one, requirement.extras))


def _is_added(needed: Requirement, extras: Iterable[str]) -> bool:
    marker = needed.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return False
    return any(marker.evaluate({"extra": extra}) for extra in extras)


@lru_cache(maxsize=4096)
def _parsed_metadata(text: str) -> Requirement:
    return Requirement(text)
