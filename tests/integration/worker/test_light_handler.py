"""Importing the handler is cheap: what is heavy comes when it is needed, the SDK last."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SOURCE = Path(__file__).parents[3] / "src"
HEAVY = (
    "aiohttp",
    "fastapi",
    "httpx",
    "numpy",
    "packaging",
    "pynvml",
    "requests",
    "runpod",
    "runpod_flash",
    "torch",
    "uv",
)


def loaded_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after `statement`."""
    program = f"import sys\nsys.path.insert(0, {str(SOURCE)!r})\n{statement}\nprint(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in printed.stdout.split()}


def test_importing_the_handler_loads_nothing_heavy() -> None:
    loaded = loaded_after("import handler")
    assert "flashtrial" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_the_sdk_is_imported_without_measuring_the_processor() -> None:
    loaded = loaded_after(
        "asked = []\n"
        "sys.addaudithook(lambda event, args: asked.append(args[0]) if event == 'subprocess.Popen' else None)\n"
        "import flashtrial.worker.loop.runpod_loop\n"
        "assert sys.executable not in asked, asked\n"
        "import cpuinfo\n"
        "assert cpuinfo.get_cpu_info.__module__.startswith('cpuinfo')"
    )
    assert {"runpod", "aiohttp"} <= loaded
