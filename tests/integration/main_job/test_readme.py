"""What the README shows works as it stands there."""

import re

import pytest

from .conftest import REPOSITORY, Machine

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_print_49_and_leave_a_run(machine: Machine) -> None:
    (snippet,) = re.findall(r"main_job runs this block -->\n```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in snippet.splitlines() if line.strip()]) <= 12
    (machine.cwd / "squares.py").write_text(snippet)
    ran = machine("run", "squares.py")
    assert ran.code == 0, ran.output
    assert "\n49\n" in ran.output
    assert "DeprecationWarning" not in ran.output
    (run,) = machine.runs()
    assert (run["project"], run["name"], run["status"]) == ("squares", "square of 7", "finished")
    assert run["summary"] == {"square": 49.0}


def test_the_gpu_example_answers_with_or_without_one(machine: Machine) -> None:
    ran = machine("run", str(REPOSITORY / "examples" / "hello_gpu.py"))
    assert ran.code == 0, ran.output
    assert re.search(r"^hello from \S+: .+", ran.output, re.MULTILINE)
