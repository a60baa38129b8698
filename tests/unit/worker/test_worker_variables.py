"""The list of a worker's variables: used as it says, and the reference has the same."""

import re
from pathlib import Path

import pytest

from flashtrial.worker.install.install_settings import InstallSettings
from flashtrial.worker.variables import NUMBERS, Variable
from flashtrial.worker.worker_settings import WorkerSettings

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference-worker.md"


def test_the_reference_has_each_number_with_its_unit_and_its_default() -> None:
    rows = [line for line in REFERENCE.read_text().splitlines() if re.match(r"\| `FLASHTRIAL_\w+` \| [^`|]+ \|", line)]
    assert rows == [f"| `{one.name}` | {one.default_text} | {one.unit} | {one.meaning} |" for one in NUMBERS]


def test_the_reference_speaks_of_every_variable_that_the_workers_code_names() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "src" / "flashtrial" / "worker").rglob("*.py"))
    named = set(re.findall(r"FLASHTRIAL_[A-Z_]+[A-Z]", sources))
    assert named <= set(re.findall(r"FLASHTRIAL_[A-Z_]+[A-Z]", REFERENCE.read_text()))


@pytest.mark.parametrize("variable", NUMBERS, ids=lambda one: one.name)
def test_each_variable_changes_the_settings(monkeypatch: pytest.MonkeyPatch, variable: Variable) -> None:
    before = (WorkerSettings.from_environment(), InstallSettings.from_environment())
    monkeypatch.setenv(variable.name, "17")
    assert (WorkerSettings.from_environment(), InstallSettings.from_environment()) != before


def test_on_a_platform_answers_are_limited_as_the_reference_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WorkerSettings.from_environment().max_result_bytes is None
    monkeypatch.setenv("RUNPOD_WEBHOOK_GET_JOB", "http://127.0.0.1:1/job-take")
    assert WorkerSettings.from_environment().max_result_bytes == 10_000_000
