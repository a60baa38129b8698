"""Pixels as PNG, and several of the same size as an animated one (APNG), with the standard library alone.

Source: PNG specification, third edition (W3C), sections 5 and 11; APNG is part of it.
"""

import struct
import zlib
from collections.abc import Sequence

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels: grey, grey with alpha, RGB, RGB with alpha
_LEVEL = 3  # twice as quick as zlib's own choice, and a tenth larger


def png(width: int, height: int, channels: int, pixels: bytes) -> bytes:
    """One picture; `pixels` has `height` rows of `width` times `channels` (1 to 4) bytes."""
    header = _header(width, height, channels)
    return _SIGNATURE + header + _chunk(b"IDAT", _packed(pixels, width * channels)) + _chunk(b"IEND", b"")


def animated_png(width: int, height: int, channels: int, frames: Sequence[bytes], rate: float) -> bytes:
    """A film that repeats for ever, `rate` frames a second. Raises ValueError without frames."""
    if not frames:
        raise ValueError("a video has at least one frame")
    out = [_SIGNATURE, _header(width, height, channels), _chunk(b"acTL", struct.pack(">II", len(frames), 0))]
    number = 0
    delay_ms = max(1, min(65535, round(1000 / rate)))
    for index, frame in enumerate(frames):
        control = struct.pack(">IIIIIHHBB", number, width, height, 0, 0, delay_ms, 1000, 0, 0)
        out.append(_chunk(b"fcTL", control))
        number += 1
        packed = _packed(frame, width * channels)
        if index == 0:  # what a viewer shows that knows no animation
            out.append(_chunk(b"IDAT", packed))
        else:
            out.append(_chunk(b"fdAT", struct.pack(">I", number) + packed))
            number += 1
    return b"".join([*out, _chunk(b"IEND", b"")])


def _header(width: int, height: int, channels: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE[channels], 0, 0, 0))


def _packed(pixels: bytes, row_bytes: int) -> bytes:
    """The rows, each with filter type 0 in front, compressed."""
    rows = (b"\0" + pixels[start : start + row_bytes] for start in range(0, len(pixels), row_bytes))
    return zlib.compress(b"".join(rows), _LEVEL)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
