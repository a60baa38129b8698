"""The files of a journal: `<writer_id>.journal`, then `<writer_id>.000002.journal` and so on, each with a header.

A segment is closed for good as soon as the next one exists; sequence numbers go on across segments. Runs inside user
processes: standard library only.
"""

import os
import re
from pathlib import Path

JOURNAL_SUFFIX = ".journal"

_LATER = re.compile(r"(.+)\.(\d{6,})")


def segment_path(outbox: Path, writer_id: str, number: int) -> Path:
    """Segment `number` (from 1 on) of a writer's journal."""
    return outbox / (f"{writer_id}{JOURNAL_SUFFIX}" if number == 1 else f"{writer_id}.{number:06d}{JOURNAL_SUFFIX}")


def parse_name(name: str) -> tuple[str, int] | None:
    """Writer and number of a segment by its file's name; None for other files."""
    if name.startswith(".") or not name.endswith(JOURNAL_SUFFIX):
        return None
    stem = name.removesuffix(JOURNAL_SUFFIX)
    later = _LATER.fullmatch(stem)
    return (later[1], int(later[2])) if later else (stem, 1)


def list_segments(outbox: Path) -> dict[str, list[int]]:
    """The numbers of the segments that there are, ascending, by writer. Raises OSError when there is no outbox."""
    found: dict[str, list[int]] = {}
    with os.scandir(outbox) as entries:
        for entry in entries:
            if (parsed := parse_name(entry.name)) is not None:
                found.setdefault(parsed[0], []).append(parsed[1])
    for numbers in found.values():
        numbers.sort()
    return found


def size_bytes(outbox: Path) -> int:
    """What all segments of an outbox take; those that vanish meanwhile count nothing. Raises OSError."""
    total = 0
    with os.scandir(outbox) as entries:
        for entry in entries:
            if entry.name.endswith(JOURNAL_SUFFIX):
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:
                    continue
    return total
