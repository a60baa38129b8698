"""Which destinations a journal has to reach: what its writer's settings said, less what the user has since taken out.

A journal's header says `backends` (names), `url` (the server of flashtrial's own kind; none: what the sync process's
environment names) and `home` (whose instance and logins are meant). That holds whoever sends it. Only a user who calls
``flashtrial sync`` with ``FLASHTRIAL_BACKENDS`` set gives other destinations up, of journals whose writers are gone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from flashtrial.protocol.records import JournalHeader

NATIVE = "native"


@dataclass(frozen=True, slots=True, order=True)
class Destination:
    """A kind of destination, and where it is if the journal says so. `name` stands in the names of cursor files.

    `home` is whose instance and logins are meant; empty where that is the sync process's own. As text, which stands in
    the status that the sync process leaves, it is told by name and address.
    """

    name: str
    url: str = ""
    home: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.url}".rstrip()


FindDestinations: TypeAlias = Callable[[JournalHeader, bool], frozenset[Destination]]


@dataclass(frozen=True, slots=True)
class Destinations:
    """Answers by a journal's header. `configured`: the names that the user did not give up; None when nothing was said.

    With `elsewhere`, all that is for a server of our kind goes to the one that the sync process finds by itself. `home`
    is its own.
    """

    configured: frozenset[str] | None = None
    elsewhere: bool = False
    home: str = ""

    def __call__(self, header: JournalHeader, is_alive: bool) -> frozenset[Destination]:
        names = _names(header)
        if not is_alive and self.configured is not None:
            names &= self.configured
        return frozenset(self._destination(name, header) for name in names)

    def _destination(self, name: str, header: JournalHeader) -> Destination:
        if name != NATIVE or self.elsewhere:
            return Destination(name)
        url, home = header.facts.get("url"), header.facts.get("home")
        is_own = not isinstance(home, str) or home == self.home
        return Destination(name, url if isinstance(url, str) else "", "" if is_own else str(home))


@dataclass(frozen=True, slots=True)
class Route:
    """One destination's part of the outbox."""

    destination: Destination
    find: FindDestinations

    @property
    def name(self) -> str:
        return self.destination.name

    def takes(self, header: JournalHeader, *, is_alive: bool) -> bool:
        return self.destination in self.find(header, is_alive)

    def others(self, header: JournalHeader, *, is_alive: bool) -> frozenset[str]:
        """The other destinations that the journal has to reach."""
        return frozenset(each.name for each in self.find(header, is_alive)) - {self.name}

    def leads(self, header: JournalHeader, *, is_alive: bool) -> bool:
        """Whether it is for this destination's thread to remove the journal: our own server's, if it goes there."""
        others = self.others(header, is_alive=is_alive)
        return self.name == NATIVE or (NATIVE not in others and self.name == min({self.name, *others}))


def parse_backends(said: str) -> frozenset[str] | None:
    """``native,mlflow`` as names, however they are written; None when nothing was said."""
    return frozenset(name.strip() for name in said.lower().split(",") if name.strip()) or None


def _names(header: JournalHeader) -> frozenset[str]:
    match header.facts.get("backends"):
        case [*names] if names:
            return frozenset(name for name in names if isinstance(name, str))
    return frozenset({NATIVE})
