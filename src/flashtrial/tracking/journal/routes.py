"""Which destinations a journal has to reach: what its writer's settings said, less what the user has since taken out.

A journal's header says `backends` (names) and `url` (the server of flashtrial's own kind; none: the running instance,
or what the sync process's environment names). As long as its writer lives that holds. Of a journal whose writer is
gone, a destination that ``FLASHTRIAL_BACKENDS`` does not name any more is no longer waited for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from flashtrial.protocol.records import JournalHeader

NATIVE = "native"


@dataclass(frozen=True, slots=True, order=True)
class Destination:
    """A kind of destination, and where it is if the journal says so. `name` stands in the names of cursor files."""

    name: str
    url: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.url}".rstrip()


FindDestinations: TypeAlias = Callable[[JournalHeader, bool], frozenset[Destination]]


@dataclass(frozen=True, slots=True)
class Destinations:
    """Answers by a journal's header. `configured`: the names that the user wants now; None when nothing was said.

    With `elsewhere`, all that is for a server of our kind goes to the one that the sync process finds by itself.
    """

    configured: frozenset[str] | None = None
    elsewhere: bool = False

    def __call__(self, header: JournalHeader, is_alive: bool) -> frozenset[Destination]:
        names = _names(header)
        if not is_alive and self.configured is not None:
            names &= self.configured
        return frozenset(self._destination(name, header) for name in names)

    def _destination(self, name: str, header: JournalHeader) -> Destination:
        url = header.facts.get("url")
        return Destination(name, url if name == NATIVE and isinstance(url, str) and not self.elsewhere else "")


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

    def leads(self, header: JournalHeader) -> bool:
        """Whether it is for this destination's thread to remove the journal: our own server's, if it goes there."""
        others = self.others(header, is_alive=True)
        return self.name == NATIVE or (NATIVE not in others and self.name == min({self.name, *others}))


def parse_backends(said: str) -> frozenset[str] | None:
    """``native,mlflow`` as names; None when nothing was said."""
    return frozenset(name.strip() for name in said.split(",") if name.strip()) or None


def _names(header: JournalHeader) -> frozenset[str]:
    match header.facts.get("backends"):
        case [*names] if names:
            return frozenset(name for name in names if isinstance(name, str))
    return frozenset({NATIVE})
