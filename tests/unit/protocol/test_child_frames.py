"""Messages between parent and child survive their encoding."""

import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.protocol import child as wire

TEXT = st.text(max_size=50)
RUNS = st.lists(
    st.builds(
        wire.RunNote,
        TEXT,
        TEXT,
        st.dictionaries(TEXT, st.floats(allow_nan=False) | TEXT, max_size=3),
        st.integers(0, 2**40),
    ),
    max_size=2,
).map(tuple)
DEFAULTS = st.builds(wire.RunDefaults, st.none() | TEXT, st.none() | TEXT, st.none() | TEXT, st.tuples(TEXT))
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
        st.none() | TEXT,
        st.none() | DEFAULTS,
    ),
    st.builds(wire.Yielded, TEXT, st.none() | st.binary(max_size=100)),
    st.builds(wire.Secrets, TEXT, st.lists(st.text(min_size=1), max_size=3).map(tuple)),
    st.builds(wire.Touched, TEXT, st.text(min_size=1, max_size=wire.MAX_RUN_ID_CHARS)),
    st.just(wire.Ready()),
    st.builds(wire.Returned, TEXT, st.none() | st.binary(max_size=100), st.booleans(), RUNS),
    st.builds(wire.Raised, TEXT, st.sampled_from(wire.Blame), TEXT, st.booleans(), st.booleans(), RUNS),
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


@pytest.mark.parametrize(
    "run",
    [
        {"run_id": "r", "url": "u", "last": {}, "unsent": 0, "more": 1},
        {"run_id": 1, "url": "u", "last": {}, "unsent": 0},
        {"run_id": "r", "url": "u", "last": {"loss": [1]}, "unsent": 0},
        {"run_id": "r", "url": "u", "last": {1: 1.0}, "unsent": 0},
        "r",
    ],
)
def test_an_answer_that_tells_of_a_run_in_another_shape_is_refused(run: object) -> None:
    number = list(wire._TYPES).index(wire.Returned)
    with pytest.raises(wire.ProtocolError):
        wire.decode(ormsgpack.packb([number, "call", None, True, [run]], option=ormsgpack.OPT_NON_STR_KEYS))
