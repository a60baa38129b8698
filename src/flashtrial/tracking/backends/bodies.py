"""The body of a request on its way out, in pieces.

A time limit of a socket counts for each call that writes to it. In one piece a body would have to leave within it as a
whole, which on a slow line it never does; of pieces each has the time to itself.
"""

from collections.abc import Iterator
from typing import Final

PIECE_BYTES: Final = 32 * 1024
SLOWEST_LINE_BYTES_PER_S: Final = 16 * 1024


def pieces_of(body: bytes) -> Iterator[bytes]:
    """To be sent with a ``Content-Length``, or else it is sent as chunks of HTTP."""
    return (body[start : start + PIECE_BYTES] for start in range(0, len(body), PIECE_BYTES))


def line_time_s(body: bytes) -> float:
    """What an answer may take longer for `body`: the last of it may wait in this machine's buffers for long."""
    return len(body) / SLOWEST_LINE_BYTES_PER_S
