"""A user's script with the unmodified SDK: run by the tests in a process of its own, it prints one JSON object.

Usage: sdk_calls.py remote | endpoint
"""

# mypy: ignore-errors

import asyncio
import json
import sys
from typing import Any

import numpy as np
from runpod_flash import Endpoint, LiveServerless, remote

if sys.argv[1] == "remote":
    resource = LiveServerless(name="sdk-remote", workersMax=1)
    on_gpu = remote(resource_config=resource)
else:
    on_gpu = Endpoint(name="sdk-endpoint", workers=1)


@on_gpu
def add(a, b):
    print("adding", a, b)
    return a + b


@on_gpu
async def add_later(a, b):
    import asyncio

    await asyncio.sleep(0)
    return a + b


@on_gpu
def scaled(*, array, factor):
    return array * factor


@on_gpu
def divide(a, b):
    return a / b  # the line the user wants to see


@on_gpu
class Counter:
    def __init__(self, start):
        self.value = start

    def add(self, n):
        self.value += n
        return self.value


async def failure(call: Any) -> str:
    try:
        return f"no failure: {await call}"
    except Exception as error:  # noqa: BLE001 - the SDK raises nothing more precise
        return str(error)


async def main() -> None:
    counter = Counter(10)
    scaled_array = await scaled(array=np.arange(3), factor=2)
    found = {
        "add": await add(2, 3),
        "add_later": await add_later(2, b=3),
        "scaled": [type(scaled_array).__name__, scaled_array.tolist()],
        "divide": await failure(divide(1, 0)),
        "counter": [await counter.add(1), await counter.add(1), await counter.add(5)],
    }
    sys.stderr.write(f"RESULT {json.dumps(found)}\n")


asyncio.run(main())
