"""Messages between parent and child survive their encoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.protocol import child as wire

TEXT = st.text(max_size=50)
MESSAGES = st.one_of(
    st.builds(wire.Setup, st.lists(TEXT, max_size=3).map(tuple), st.dictionaries(TEXT, TEXT, max_size=3)),
    st.builds(wire.Preload, TEXT, st.lists(TEXT, max_size=3).map(tuple)),
    st.builds(wire.Fork, st.dictionaries(TEXT, TEXT, max_size=3)),
    st.builds(wire.AskStatus, st.integers(1, 2**22)),
    st.builds(
        wire.Invoke,
        TEXT,
        TEXT,
        TEXT,
        st.dictionaries(TEXT, TEXT, max_size=3),
        st.sampled_from(["json", "cloudpickle"]),
        st.none() | TEXT,
        st.booleans(),
        st.booleans(),
        st.none() | st.binary(max_size=100),
    ),
    st.builds(wire.Yielded, TEXT, st.none() | st.binary(max_size=100)),
    st.just(wire.Ready()),
    st.builds(wire.Returned, TEXT, st.none() | st.binary(max_size=100), st.booleans()),
    st.builds(wire.Raised, TEXT, st.sampled_from(wire.Blame), TEXT, st.booleans(), st.booleans()),
    st.builds(wire.Preloaded, st.lists(TEXT, max_size=3).map(tuple), st.booleans(), TEXT),
    st.builds(wire.Forked, st.integers(1, 2**22)),
    st.builds(wire.Status, st.integers(1, 2**22), st.none() | st.integers(-64, 255)),
)


@given(MESSAGES)
def test_a_message_comes_out_as_it_went_in(message: wire.Message) -> None:
    data = wire.encode(message)
    length, descriptors = wire.FRAME_HEAD.unpack_from(data)
    assert (length, descriptors) == (len(data) - wire.FRAME_HEAD.size, 0)
    assert wire.decode(data[wire.FRAME_HEAD.size :]) == message


@given(st.binary(max_size=60))
def test_other_bytes_are_refused_as_such(data: bytes) -> None:
    try:
        message = wire.decode(data)
    except wire.ProtocolError:
        return
    assert type(message) in wire.Message.__args__


def test_an_unknown_number_is_refused() -> None:
    with pytest.raises(wire.ProtocolError):
        wire.decode(b"\x91\x63")
