"""The unmodified runpod-flash SDK calls through the local RunPod and the real runpod worker loop."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Instance

pytestmark = pytest.mark.timeout(180)


def sdk_script(instance: Instance, scratch: Path, spelling: str) -> dict[str, Any]:
    """What the user's script found out, run with what `flashtrial env` prints and nothing else."""
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("sdk_calls.py")), spelling],
        env={**instance.environment(), **instance.exports()},
        cwd=scratch,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    results = [line for line in ran.stderr.splitlines() if line.startswith("RESULT ")]
    assert results, ran.stdout + ran.stderr
    found = json.loads(results[0].removeprefix("RESULT "))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("spelling", ["remote", "endpoint"])
def test_a_script_with_the_sdk_gets_its_results_and_its_errors(
    instance: Instance, tmp_path: Path, spelling: str
) -> None:
    found = sdk_script(instance, tmp_path, spelling)
    assert found["add"] == 5
    assert found["add_later"] == 5
    assert found["scaled"] == ["ndarray", [0, 2, 4]]
    assert "ZeroDivisionError: division by zero" in found["divide"]
    assert "return a / b  # the line the user wants to see" in found["divide"]
    assert found["counter"] == [11, 12, 17]
