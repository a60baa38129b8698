"""`make test-handler` compares answers: each fixture passes, and fails once its expectation is altered."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.network, pytest.mark.timeout(300)]


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "test_handler.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def altered(expected: Any) -> Any:
    """`expected` with the first thing in it that can be wrong made wrong."""
    if isinstance(expected, list):
        return [altered(expected[0]), *expected[1:]]
    return {**expected, "success": not expected["success"]}


def test_every_fixture_passes_as_it_is_and_fails_when_its_expectation_is_altered(tmp_path: Path) -> None:
    as_is = run(ROOT / "src" / "tests")
    assert as_is.returncode == 0, as_is.stdout
    names = sorted(path.stem for path in (ROOT / "src" / "tests").glob("test_*.json"))
    assert len(names) >= 8

    shutil.copytree(ROOT / "src" / "tests", tmp_path / "tests")
    for path in (tmp_path / "tests" / "expected").glob("*.json"):
        path.write_text(json.dumps(altered(json.loads(path.read_text()))))
    wrong = run(tmp_path / "tests")
    assert wrong.returncode == 1
    assert [line.split()[1] for line in wrong.stdout.splitlines() if line.startswith("FAILED")] == names


def test_a_fixture_without_an_expectation_fails(tmp_path: Path) -> None:
    (tmp_path / "test_alone.json").write_text('{"input": {}}')
    ran = run(tmp_path)
    assert ran.returncode == 1
    assert "there is no expectation" in ran.stdout


def test_the_handler_script_runs_one_job_given_as_test_input(tmp_path: Path) -> None:
    job = {
        "input": {"function_name": "f", "function_code": "def f():\n    return 6 * 7\n", "serialization_format": "json"}
    }
    command = [sys.executable, str(ROOT / "src" / "handler.py"), "--test_input", json.dumps(job)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "42" in ran.stdout + ran.stderr
    job["input"]["function_code"] = "def f():\n    raise ValueError('no')\n"
    command[-1] = json.dumps(job)
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 1
