"""A user's script with the unmodified SDK; prints what came back as JSON. Run from a directory of its own."""
# The functions are as users write them: what an annotation names is not shipped with them.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

import asyncio
import json
import sys
import time
import warnings

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
from runpod_flash import Endpoint, LiveServerless, remote  # noqa: E402

config = LiveServerless(name="old-spelling", workersMax=1, idleTimeout=30)


@remote(config)
def add(a, b):
    return a + b


@remote(config)
async def add_async(a, b):
    return a + b


@remote(config)
def total(values=None):
    return float(values.sum())


@remote(config)
def broken():
    raise ValueError("it broke")


@Endpoint(name="new-spelling", workers=(0, 1), idle_timeout=30)
async def double(x):
    return 2 * x


async def main() -> None:
    answers = {
        "add": await add(2, 3),
        "add_async": await add_async(2, b=5),
        "total": await total(values=np.arange(5)),
        "double": await double(21),
    }
    try:
        await broken()
    except Exception as error:  # noqa: BLE001 - the SDK raises nothing narrower
        answers["broken"] = str(error)
    started = time.perf_counter()
    for _ in range(int(sys.argv[1])):
        await add(1, 1)
    answers["seconds"] = time.perf_counter() - started
    print("ANSWERS " + json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main())
