"""Maps within maps."""

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(nested: Mapping[str, Any], separator: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of `nested` that are no maps, or empty ones, each by its path of keys, joined by `separator`."""
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, separator, f"{prefix}{key}{separator}")
        else:
            yield f"{prefix}{key}", value
