"""Base64 made piece by piece is the base64 of the whole."""

import base64
import os
import pickle

import cloudpickle
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.process import blobs
from flashtrial.process.runtime.base64_file import Base64File
from flashtrial.protocol.child import INLINE_LIMIT

PIECES = st.one_of(st.binary(max_size=10), st.integers(0, 3).map(lambda more: b"x" * (INLINE_LIMIT + more)))


def encoded(pieces: list[bytes]) -> bytes:
    """What comes of writing `pieces`, wherever it lies."""
    file = Base64File()
    for piece in pieces:
        assert file.write(piece) == len(piece)
    made = file.finish()
    if isinstance(made, bytes):
        return made
    with made:
        return bytes(blobs.take(None, [os.dup(made.fileno())]))


@given(st.lists(PIECES, max_size=6))
def test_pieces_of_any_size_become_the_base64_of_them_all(pieces: list[bytes]) -> None:
    assert encoded(pieces) == base64.b64encode(b"".join(pieces))


def test_what_fits_into_a_frame_needs_no_file() -> None:
    file = Base64File()
    file.write(b"few")
    assert file.finish() == b"ZmV3"


def test_a_large_buffer_is_pickled_as_cloudpickle_pickles_it() -> None:
    value = {"large": bytearray(b"ab" * INLINE_LIMIT), "buffer": pickle.PickleBuffer(b"cd" * INLINE_LIMIT), "small": 1}
    file = Base64File()
    cloudpickle.Pickler(file, protocol=cloudpickle.DEFAULT_PROTOCOL).dump(value)
    made = file.finish()
    assert not isinstance(made, bytes)
    with made:
        text = bytes(blobs.take(None, [os.dup(made.fileno())]))
    assert text == base64.b64encode(cloudpickle.dumps(value))
