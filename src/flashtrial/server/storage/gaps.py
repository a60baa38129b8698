"""Points that cannot be read any more, since their bytes were damaged: what is left out, so that the rest is shown."""

import logging
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from flashtrial.server.storage.columns import ROW, Columns, DamagedBlock, decode_block, decode_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gap:
    """So many points, between these steps where they are known."""

    points: int
    first_step: int | None = None
    last_step: int | None = None


@dataclass(slots=True)
class Gaps:
    """Reads points and notes what it could not read, each once."""

    _found: dict[Hashable, Gap] = field(default_factory=dict)

    @property
    def found(self) -> list[Gap]:
        """In the order in which they were met."""
        return list(self._found.values())

    def block(self, key: Hashable, gap: Gap, data: bytes) -> Columns | None:
        """The points of a block that is known as `key`; without them there is the `gap`."""
        try:
            return decode_block(data, gap.points)
        except DamagedBlock as error:
            self._note(key, gap, error)
            return None

    def rows(self, key: Hashable, pieces: Iterable[bytes]) -> Columns:
        """The points of these pieces of a tail, or of a summary, one piece after the other."""
        whole: list[bytes] = []
        for place, data in enumerate(pieces):
            if len(data) % ROW.itemsize:
                points = len(data) // ROW.itemsize + 1
                self._note((key, place), Gap(points), DamagedBlock(f"{len(data)} bytes end inside a point"))
            else:
                whole.append(data)
        return decode_rows(b"".join(whole))

    def _note(self, key: Hashable, gap: Gap, error: DamagedBlock) -> None:
        if key not in self._found:
            logger.warning("%d points cannot be read: %s", gap.points, error, extra={"action": "points_damaged"})
        self._found[key] = gap
