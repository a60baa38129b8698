"""What a call writes, by whatever means, is in its answer, in order, and in nobody else's."""

import asyncio

from flashtrial.worker.entrypoint import Worker
from testkit.jobs import function_job

EVERY_MEANS = r"""
import ctypes, logging, os, subprocess, sys, threading

def f():
    print("print")
    os.system("echo shell")
    os.write(1, b"write 1\n")
    os.write(2, b"write 2\n")
    ctypes.CDLL(None).puts(b"C puts")
    print("error", file=sys.stderr)
    logging.warning("warned")
    thread = threading.Thread(target=print, args=("thread",))
    thread.start()
    thread.join()
    subprocess.run([sys.executable, "-c", "print('grandchild')"])
    ctypes.CDLL(None).printf(b"C printf without a newline")
"""


async def test_every_means_of_writing_is_captured_in_order(worker: Worker) -> None:
    answer = await worker.handle(function_job(EVERY_MEANS))
    assert answer["success"], answer
    assert answer["stdout"].splitlines() == [
        "print",
        "shell",
        "write 1",
        "write 2",
        "C puts",
        "error",
        "WARNING:root:warned",
        "thread",
        "grandchild",
        "C printf without a newline",
    ]


async def test_concurrent_calls_never_see_each_others_output(worker: Worker) -> None:
    source = """
import os, time
def f(mark):
    for place in range(40):
        print(mark, place)
        os.system(f"echo {mark} {place}") if place % 20 == 0 else time.sleep(0.001)
"""
    answers = await asyncio.gather(*(worker.handle(function_job(source, "f", mark)) for mark in "abcd"))
    for mark, answer in zip("abcd", answers, strict=True):
        lines = answer["stdout"].splitlines()
        assert [line for line in lines if not line.startswith(mark)] == []
        assert len(lines) == 42


async def test_what_a_grandchild_writes_late_is_in_no_later_answer(worker: Worker) -> None:
    source = """
import subprocess
def f():
    subprocess.Popen(["sh", "-c", "sleep 0.1; echo late; sleep 30"])
    print("on time")
"""
    first = await worker.handle(function_job(source))
    assert first["stdout"] == "on time\n"
    later = await worker.handle(function_job("import time\ndef f():\n    time.sleep(0.3)\n    print('mine')\n"))
    assert later["stdout"] == "mine\n"


async def test_a_thread_that_outlives_its_call_cannot_write_into_the_next(worker: Worker) -> None:
    source = """
import threading, time
def f():
    def babble():
        while True:
            print("babble")
            time.sleep(0.005)
    threading.Thread(target=babble, daemon=True).start()
"""
    await worker.handle(function_job(source))
    later = await worker.handle(function_job("import time\ndef f():\n    time.sleep(0.1)\n    print('mine')\n"))
    assert later["stdout"] == "mine\n"


async def test_the_last_words_before_a_death_are_kept(worker: Worker) -> None:
    source = "import os\ndef f():\n    os.write(1, b'last words')\n    os._exit(7)\n"
    answer = await worker.handle(function_job(source))
    assert answer["stdout"] == "last words"


async def test_a_million_lines_are_bounded_and_the_cut_is_said(worker: Worker) -> None:
    answer = await worker.handle(function_job("def f():\n    for n in range(300000):\n        print('line', n)\n"))
    assert answer["success"]
    assert answer["stdout"].startswith("line 0\n")
    assert answer["stdout"].endswith("line 299999\n")
    assert "bytes cut" in answer["stdout"]
    assert len(answer["stdout"]) < 1_200_000
