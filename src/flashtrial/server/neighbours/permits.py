"""Addresses that carry a permission of their own: signed words, good until a time, for clients that send no token."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from flashtrial.server.neighbours.wire_json import BadJson, dumps, loads_map

GOOD_FOR_MS = 24 * 3600 * 1000
_SIGNATURE_BYTES = 16


class NoPermit(ValueError):
    """Raised when words were not signed by this server, were signed for something else, or are too old."""


def signed(secret: bytes, purpose: str, words: Mapping[str, Any], now_ms: int) -> str:
    """`words` as text that can stand in an address; good for a day, and for `purpose` alone."""
    body = dumps({**words, "for": purpose, "until": now_ms + GOOD_FOR_MS})
    return base64.urlsafe_b64encode(_signature(secret, body) + body).decode().rstrip("=")


def checked(secret: bytes, purpose: str, text: str, now_ms: int) -> dict[str, Any]:
    """The words that `signed` was given. Raises `NoPermit`."""
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        signature, body = packed[:_SIGNATURE_BYTES], packed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, _signature(secret, body)):
            raise NoPermit("this address was not given out by this server")
        words = loads_map(body)
    except (BadJson, ValueError) as error:
        raise NoPermit("this address was not given out by this server") from error
    if words["for"] != purpose or words["until"] < now_ms:
        raise NoPermit("this address is not good any more: ask for a new one")
    return words


def _signature(secret: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, body, hashlib.sha256)[:_SIGNATURE_BYTES]
