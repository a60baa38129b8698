"""Is what was installed what its packages say? Files are links into uv's cache, so that code which writes into a layer
damages the cache too, and with it every layer that would be built from it."""

import base64
import csv
import hashlib
from pathlib import Path

_ALGORITHM = "sha256"


def damaged_packages(site: Path) -> tuple[str, ...]:
    """Names of the distributions in `site` of which a file is lost or is not what its RECORD says.

    Reads every file once: about 1 s for 1 GB. Call from a thread.
    """
    return tuple(sorted(record.parent.name.partition("-")[0] for record in site.glob("*/RECORD") if not _holds(record)))


def _holds(record: Path) -> bool:
    with record.open(newline="", encoding="utf-8") as file:
        return all(_is_as_recorded(record.parent.parent / row[0], row[1]) for row in csv.reader(file) if row[1:])


def _is_as_recorded(path: Path, expected: str) -> bool:
    """`expected` is ``sha256=`` and unpadded URL-safe base64, as PEP 376 and 427 have it; others are not checked."""
    algorithm, _, encoded = expected.partition("=")
    if algorithm != _ALGORITHM:
        return True
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, _ALGORITHM).digest()
    except FileNotFoundError:
        return False
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == encoded.rstrip("=")
