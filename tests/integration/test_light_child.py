"""What a child has in memory before any user code runs, seen in a real interpreter."""

import subprocess
import sys

CHILD = ["flashtrial.process.runtime.instance_host", "flashtrial.process.runtime.zygote", "flashtrial.tracking.api"]


def loaded_by(modules: list[str]) -> set[str]:
    """Top-level names outside the standard library that a fresh interpreter has after importing `modules`."""
    source = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    return set(done.stdout.split()) - sys.stdlib_module_names - {"__main__"}


def test_child_brings_nothing_that_a_layer_could_hold_in_another_version() -> None:
    assert loaded_by(CHILD) == {"flashtrial", "cloudpickle", "ormsgpack", "pybase64"}


def test_heavier_package_would_be_seen() -> None:
    assert "pydantic" in loaded_by(["flashtrial.protocol.execution"])
