"""Arguments are packed as one msgpack document, however large they are."""

import ormsgpack
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.process.blobs import joined
from flashtrial.process.packing import pack
from flashtrial.protocol.child import INLINE_LIMIT

VALUES = st.one_of(st.text(max_size=20), st.just("x" * INLINE_LIMIT), st.just("é" * INLINE_LIMIT))
LISTS = st.lists(VALUES, max_size=3)
MAPS = st.dictionaries(st.text(max_size=5), VALUES, max_size=3)


@given(LISTS, MAPS, LISTS, MAPS)
def test_parts_joined_are_the_document(
    args: list[str], kwargs: dict[str, str], constructor_args: list[str], constructor_kwargs: dict[str, str]
) -> None:
    values = [args, kwargs, constructor_args, constructor_kwargs]
    assert ormsgpack.unpackb(joined(pack(args, kwargs, constructor_args, constructor_kwargs))) == values


def test_a_large_string_is_not_copied() -> None:
    large = "x" * INLINE_LIMIT
    assert any(part is large for part in pack([large], {}, [], {}))
