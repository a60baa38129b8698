"""How pip is called and read."""

import json
from pathlib import Path

import pytest

from flashtrial.worker.install.base_packages import InstalledPackage
from flashtrial.worker.install.pip_commands import Pip, has_usable_pip

PIP = Pip("/venv/bin/python")
CONFLICT = """ERROR: Cannot install a==1 and a==2 because these package versions have conflicting dependencies.

[notice] A new release of pip is available: 23.2.1 -> 26.0
ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/
"""


def entry(name: str, version: str, **source: object) -> dict[str, object]:
    return {"metadata": {"name": name, "version": version}, "is_direct": bool(source), "download_info": source}


def test_what_would_be_installed_is_read_from_the_report(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    entries = [
        entry("tiny", "1.0"),
        entry("other", "2.0", url="https://example.org/other-2.0-py3-none-any.whl", archive_info={}),
        entry("third", "3.0", url="https://example.org/third", vcs_info={"vcs": "git", "commit_id": "abc"}),
    ]
    report.write_text(json.dumps({"version": "1", "install": entries}))
    assert PIP.resolved("", report) == (
        "other @ https://example.org/other-2.0-py3-none-any.whl",
        "third @ git+https://example.org/third@abc",
        "tiny==1.0",
    )


def test_conflict_is_told_from_other_failures() -> None:
    assert PIP.is_conflict(CONFLICT)
    assert not PIP.is_conflict("ERROR: No matching distribution found for tiny")


def test_reason_leaves_out_the_chatter() -> None:
    assert PIP.reason(CONFLICT).startswith("ERROR: Cannot install")
    assert "[notice]" not in PIP.reason(CONFLICT)


def test_settings_that_would_send_packages_elsewhere_are_overruled() -> None:
    given = {"PIP_TARGET": "/elsewhere", "PIP_USER": "1", "PIP_INDEX_URL": "https://a/simple", "PATH": "/bin"}
    chosen = PIP.environment(given, Path("/cache"), Path("/beside"))
    assert "PIP_TARGET" not in chosen
    assert chosen["PIP_USER"] == "0"
    assert chosen["PIP_INDEX_URL"] == "https://a/simple"
    assert chosen["PATH"] == "/bin"


@pytest.mark.parametrize(("version", "usable"), [("22.2", True), ("26.0", True), ("21.3.1", False), (None, False)])
def test_only_a_pip_that_can_report_is_used(version: str | None, usable: bool) -> None:
    base = {"pip": InstalledPackage("pip", version, Path("/nowhere"))} if version else {}
    assert has_usable_pip(base) == usable
