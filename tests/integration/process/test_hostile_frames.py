"""User code that gets hold of the control socket hurts its own call and nothing else."""

import pytest

from flashtrial.process.outcome import Died, Garbled, failure_of
from flashtrial.process.supervisor import Supervisor
from flashtrial.protocol.execution import FailureKind
from testkit.calls import open_descriptors, result_of, works

CONTROL = """
import os, socket, struct, time
import ormsgpack
from flashtrial.protocol import child as wire

def control():
    for number in range(3, 64):
        try:
            endpoint = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        if endpoint.family == socket.AF_UNIX:
            return endpoint

def raw(kind, *fields, count=0):
    payload = ormsgpack.packb([wire._NUMBERS[kind], *fields])
    return wire.FRAME_HEAD.pack(len(payload), count) + payload

def f(call_id):
    {body}
    time.sleep(30)
"""

GARBLED = {
    "bytes of no frame": r"control().send(b'\xff' * 64)",
    "a frame that is no msgpack": r"control().send(b'\x01\x00\x00\x00\x00\xc1')",
    "a frame of a gigabyte": "control().send(struct.pack('<IB', 2**30 - 1, 0))",
    "a message only the worker sends": "control().send(raw(wire.Fork, {{}}))",
    "a result that is a number": "control().send(raw(wire.Returned, call_id, 5, True, []))",
    "a value of three gigabytes of nothing": "control().send(raw(wire.Yielded, call_id, 3_000_000_000))",
    "secrets without end": "control().send(raw(wire.Secrets, call_id, ['s'] * 5000))",
    "a secret without end": "control().send(raw(wire.Secrets, call_id, ['s' * 50_000]))",
    "an empty secret": "control().send(raw(wire.Secrets, call_id, ['']))",
    "a run of a name without end": "control().send(raw(wire.Touched, call_id, 'r' * 5000))",
    "a result that is nowhere": "control().send(raw(wire.Returned, call_id, None, True, []))",
    "a descriptor that was not sent": "control().send(raw(wire.Returned, call_id, b'1', True, [], count=3))",
    "a directory for a result": (
        "socket.send_fds(control(), [raw(wire.Returned, call_id, None, True, [], count=1)], [os.open('/', 0)])"
    ),
    "a memory file that may shrink": (
        "m = os.memfd_create('m'); os.write(m, b'1' * 9999); "
        "socket.send_fds(control(), [raw(wire.Returned, call_id, None, True, [], count=1)], [m]); os.ftruncate(m, 0)"
    ),
    "descriptors that nobody asked for": (
        "c = control(); [socket.send_fds(c, [raw(wire.Ready)], [0] * 8) for _ in range(99)]"
    ),
}


@pytest.mark.parametrize("body", GARBLED.values(), ids=GARBLED.keys())
async def test_what_is_no_answer_ends_its_own_call_and_leaks_nothing(forking: Supervisor, body: str) -> None:
    assert await works(forking)
    before = open_descriptors()
    outcome = await result_of(forking, CONTROL.replace("{body}", body.replace("{{}}", "{}")), "call")
    assert isinstance(outcome, Garbled), outcome
    assert failure_of(outcome).kind is FailureKind.USER_CODE
    assert await works(forking)
    assert open_descriptors() <= before


async def test_descriptors_sent_with_frames_that_need_none_are_closed(forking: Supervisor) -> None:
    assert await works(forking)
    before = open_descriptors()
    source = CONTROL.replace(
        "{body}",
        "c = control(); [socket.send_fds(c, [raw(wire.Ready, count=8)], [0] * 8) for _ in range(99)]; return 1",
    )
    await result_of(forking, source, "call")
    assert await works(forking)
    assert open_descriptors() <= before


async def test_a_thread_that_garbles_the_socket_between_calls_spoils_no_call(forking: Supervisor) -> None:
    source = """
import os, threading, time
def late(endpoint):
    time.sleep(0.1)
    endpoint.send(bytes(64))
""" + CONTROL.replace("{body}", "threading.Thread(target=late, args=(control(),)).start(); return 1")
    for _ in range(3):
        await result_of(forking, source, "call")
        assert await works(forking)


async def test_a_call_that_answers_twice_is_the_last_of_its_process(forking: Supervisor) -> None:
    forged = "control().send(raw(wire.Returned, call_id, b'1', True, [])); os.write(1, b'after'); return 2"
    assert await works(forking)
    outcome = await result_of(forking, CONTROL.replace("{body}", forged), "call_forged")
    assert not isinstance(outcome, Died)
    for _ in range(3):
        assert await works(forking)
