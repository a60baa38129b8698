"""A worker for tests: the real ``runpod`` loop around a handler that does what the job's `do` says."""

import asyncio
import base64
import inspect
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import cloudpickle
import requests
import runpod


async def handler(job: dict[str, Any]) -> Any:
    job_input = job["input"]
    if "function_code" in job_input or "class_code" in job_input:
        return await call(job_input)
    return await ACTS[job_input["do"]](job)


def load(text: str) -> Any:
    return cloudpickle.loads(base64.b64decode(text))


async def call(request: dict[str, Any]) -> dict[str, Any]:
    """Run a FunctionRequest in this process, which is all that a test of the road to it needs."""
    scope: dict[str, Any] = {}
    exec(request["function_code"], scope)
    arguments = [load(item) for item in request.get("args", [])]
    keywords = {name: load(item) for name, item in request.get("kwargs", {}).items()}
    try:
        value = scope[request["function_name"]](*arguments, **keywords)
        if inspect.isawaitable(value):
            value = await value
    except ValueError as error:
        return {"success": False, "error": f"ValueError: {error}", "stdout": "said before it failed"}
    return {"success": True, "result": base64.b64encode(cloudpickle.dumps(value)).decode(), "stdout": "said\n"}


async def echo(job: dict[str, Any]) -> Any:
    return job["input"]


async def environment(job: dict[str, Any]) -> Any:
    return dict(os.environ)


async def who(job: dict[str, Any]) -> Any:
    await asyncio.sleep(job["input"].get("for_s", 0))
    return {"pid": os.getpid(), "session": os.getsid(0), "cwd": str(Path.cwd())}


async def wait(job: dict[str, Any]) -> Any:
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        print(f"stopped {job['input'].get('mark')}", flush=True)
        raise


async def fail(job: dict[str, Any]) -> Any:
    return {"error": "it is broken", "stdout": "what it printed"}


async def crash(job: dict[str, Any]) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


async def large(job: dict[str, Any]) -> Any:
    return {"text": "x" * job["input"]["size"]}


async def not_a_number(job: dict[str, Any]) -> Any:
    return {"loss": float("nan")}


async def refresh(job: dict[str, Any]) -> Any:
    return {"pid": os.getpid(), "refresh_worker": True}


async def progress(job: dict[str, Any]) -> Any:
    runpod.serverless.progress_update(job, {"half": True})
    await asyncio.sleep(600)


async def stream(job: dict[str, Any]) -> Any:
    address = os.environ["RUNPOD_WEBHOOK_POST_STREAM"]
    address = address.replace("$RUNPOD_POD_ID", os.environ["RUNPOD_POD_ID"]).replace("$ID", job["id"])
    key = os.environ["RUNPOD_AI_API_KEY"]
    for number in range(3):
        requests.post(address, json={"output": number}, headers={"Authorization": key}).raise_for_status()
    return {"sent": 3}


ACTS = {
    act.__name__: act
    for act in (echo, environment, who, wait, fail, crash, large, not_a_number, refresh, progress, stream)
}


def leave_with(parent_pid: int) -> None:
    while Path(f"/proc/{parent_pid}").exists():
        time.sleep(0.2)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=leave_with, args=(int(os.environ["FLASHTRIAL_PARENT_PID"]),), daemon=True).start()
    concurrency = int(os.environ.get("FLASHTRIAL_CONCURRENCY", "1"))
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda _current: concurrency})
