"""Arguments are packed as one msgpack document, however large they are."""

import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.process.blobs import joined
from flashtrial.process.packing import NotText, pack, unpacked
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


@given(LISTS, MAPS, LISTS, MAPS)
def test_what_was_packed_is_unpacked_where_it_lies(
    args: list[str], kwargs: dict[str, str], constructor_args: list[str], constructor_kwargs: dict[str, str]
) -> None:
    document = memoryview(joined(pack(args, kwargs, constructor_args, constructor_kwargs)))
    groups = unpacked(document)
    assert [_texts(group) for group in groups] == [args, kwargs, constructor_args, constructor_kwargs]


def test_a_large_argument_is_a_slice_of_the_document() -> None:
    document = memoryview(joined(pack(["x" * INLINE_LIMIT], {}, [], {})))
    [[value], *_others] = unpacked(document)
    assert value.obj is document.obj


def test_what_is_no_text_is_not_packed() -> None:
    with pytest.raises(NotText, match="int"):
        pack(["fine"], {"odd": 5}, [], {})


def _texts(group: list[object] | dict[str, object]) -> list[str] | dict[str, str]:
    if isinstance(group, dict):
        return {name: _text(value) for name, value in group.items()}
    return [_text(value) for value in group]


def _text(value: object) -> str:
    return value if isinstance(value, str) else bytes(value).decode()  # type: ignore[call-overload]
