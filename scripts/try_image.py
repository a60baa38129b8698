#!/usr/bin/env python3
"""Try a worker image: its version, a job, a job with a dependency, its command and its health check.

Usage: try_image.py PREFIX…    what runs a command inside, for instance ``docker run --rm flashtrial:cpu``

Standard library only: the machine that tries an image need not have flashtrial. Exit status 1 at the first thing that
is not as it should be. Each command has ten minutes; the dependency is fetched from the package index.
"""

import ast
import hashlib
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEADLINE_S = 600
TOKEN = "hf_try_image_token"  # a secret as far as the image knows
RESULT = re.compile(r"Job result: (\{.*\})")

ABOUT = f"""
def about():
    import hashlib, os, sys
    import flashtrial
    return {{
        "executable": sys.executable,
        "installed": "site-packages" in flashtrial.__file__ or "dist-packages" in flashtrial.__file__,
        "sources": [path for path in sys.path if path.rstrip("/").endswith("src")],
        "root": os.geteuid() == 0,
        "token": hashlib.sha256(os.environ.get("HF_TOKEN", "").encode()).hexdigest()
            == "{hashlib.sha256(TOKEN.encode()).hexdigest()}",
        "hub": [os.environ.get(name) for name in ("HF_HOME", "HF_HUB_ENABLE_HF_TRANSFER")],
    }}
"""
DEPENDENT = """
def dependent():
    import iniconfig
    return iniconfig.__file__
"""

# The image's command, alive by its own health check from when it has started until it has ended.
LIFE = """
{health} && {{ echo "healthy before there is a worker"; exit 1; }}
RUNPOD_WEBHOOK_GET_JOB='http://127.0.0.1:9/job-take/$ID' {command} >/tmp/worker.log 2>&1 &
worker=$!
until grep -q "Starting Serverless Worker" /tmp/worker.log; do
    kill -0 $worker || {{ cat /tmp/worker.log; exit 1; }}
    sleep 0.2
done
{health} || {{ echo "not healthy while the worker runs"; exit 1; }}
kill -KILL $worker
wait $worker
{health} && {{ echo "healthy without a worker"; exit 1; }}
echo lived
"""


class NotAsItShould(Exception):
    """Raised when the image answers something else than it should; the message says what."""


def main(prefix: Sequence[str]) -> None:
    image = Image(prefix)
    image.check("version", image.version(), f"flashtrial {_version()}")
    about = image.job("about", ABOUT)
    hub = ["/hf-cache", "1"]
    wanted = {"installed": True, "sources": [], "root": True, "token": True, "hub": hub}
    image.check("a job", about, {**about, **wanted})
    layer = image.job("dependent", DEPENDENT, dependencies=["iniconfig==2.3.0"])
    image.check("a job with a dependency", "/layers/" in layer, True)
    image.check("command and health check", image.life(), "lived")


class Image:
    """Commands in fresh containers of one image."""

    def __init__(self, prefix: Sequence[str]) -> None:
        self._prefix = prefix
        self._since = time.monotonic()

    def check(self, what: str, found: object, wanted: object) -> None:
        """Say that `what` is in order, and how long it took. Raises `NotAsItShould`."""
        if found != wanted:
            raise NotAsItShould(f"{what}: found {found!r}, wanted {wanted!r}")
        print(f"ok      {what} ({time.monotonic() - self._since:.1f} s): {found}", flush=True)
        self._since = time.monotonic()

    def version(self) -> str:
        return self._run(["flashtrial", "--version"]).stdout.strip()

    def job(self, name: str, code: str, **fields: object) -> Any:
        """What function `name` of `code` returned, run by the worker with HF_TOKEN set."""
        request = {"function_name": name, "function_code": code, "serialization_format": "json", "args": [], **fields}
        entry = ["python3", "-m", "flashtrial.worker.entrypoint", "--test_input", json.dumps({"input": request})]
        ran = self._run(["env", f"HF_TOKEN={TOKEN}", *entry])
        said = ran.stdout + ran.stderr
        if TOKEN in said:
            raise NotAsItShould(f"the log shows HF_TOKEN:\n{said}")
        if not (result := RESULT.search(said)):
            raise NotAsItShould(f"there is no answer in:\n{said}")
        return ast.literal_eval(result[1])["output"]["json_result"]

    def life(self) -> str:
        dockerfile = (ROOT / "Dockerfile-cpu").read_text()
        script = LIFE.format(
            health=_exec_form(dockerfile, r"^ +CMD (\[.*\])$"), command=_exec_form(dockerfile, r"^CMD (.*)$")
        )
        return self._run(["sh", "-c", script]).stdout.strip()

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run([*self._prefix, *command], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        if ran.returncode != 0:
            raise NotAsItShould(f"{command[0]} ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}")
        return ran


def _exec_form(dockerfile: str, pattern: str) -> str:
    """The one instruction that matches, as a shell would write it."""
    (words,) = re.findall(pattern, dockerfile, re.MULTILINE)
    return shlex.join(json.loads(words))


def _version() -> str:
    (version,) = re.findall(r'^__version__ = "(.*)"$', (ROOT / "src/flashtrial/__init__.py").read_text(), re.MULTILINE)
    return str(version)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except NotAsItShould as error:
        sys.exit(f"FAILED  {error}")
