"""Calls as the supervisor of children takes them, without a worker or a request."""

import itertools
import json
import os
from pathlib import Path
from typing import Any

from flashtrial.process.call_spec import CallSpec
from flashtrial.process.environment import BASE, Environment
from flashtrial.process.outcome import Outcome
from flashtrial.process.output import OutputBuffer
from flashtrial.process.supervisor import Supervisor

FINE = "def f():\n    return 'fine'\n"

_numbers = itertools.count(1)


def json_call(source: str, target: str = "f", *args: Any, **more: Any) -> CallSpec:
    """A call with JSON arguments; a method of the class `target` where `method` is among `more`."""
    packed = (json.dumps([list(args), {}, [], {}]).encode(),)
    modules = more.pop("modules", {})
    return CallSpec(f"call_{next(_numbers)}", target, source, modules, "json", packed, **more)


async def result_of(
    supervisor: Supervisor, source: str, *args: Any, environment: Environment = BASE, **more: Any
) -> Outcome:
    """How a call of `f` ended."""
    return await supervisor.run_function(environment, json_call(source, "f", *args, **more), OutputBuffer())


async def works(supervisor: Supervisor, environment: Environment = BASE) -> bool:
    """Whether the next call is answered."""
    outcome = await result_of(supervisor, FINE, environment=environment)
    return getattr(outcome, "value", None) == b'"fine"'


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the count is all


def is_alive(pid: int) -> bool:
    """Whether `pid` is a process that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
