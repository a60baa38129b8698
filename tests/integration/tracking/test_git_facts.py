"""What git says of the code that runs: of real repositories, and of a git that is slow, endless or not there."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flashtrial.protocol.records import JsonValue
from flashtrial.tracking.capture import git_state as git
from flashtrial.tracking.capture.git_state import MARGIN_BYTES, MAX_DIFF_BYTES, git_state
from flashtrial.tracking.capture.masking import Masks
from testkit import wait_until

from .conftest import Lab

pytestmark = pytest.mark.integration

NOBODY = ("-c", "user.name=n", "-c", "user.email=e@e", "-c", "commit.gpgsign=false", "-c", "protocol.file.allow=always")


def run_git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", directory, *NOBODY, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With one commit of a file ``train.py`` on the branch ``topic``."""
    place = tmp_path / "repository"
    place.mkdir()
    run_git(place, "init", "-q", "-b", "topic")
    (place / "train.py").write_text("lr = 0.1\n")
    run_git(place, "add", ".")
    run_git(place, "commit", "-q", "-m", "first")
    return place


def state_of(directory: Path, **more: str) -> Mapping[str, JsonValue]:
    state = git_state(directory, {**os.environ, **more}, Masks())
    assert state is not None
    return state


def check_slow_git(directory: Path, path: Mapping[str, str], expected: Mapping[str, JsonValue]) -> None:
    """Whether `expected` is what it says with a patience that ends soon; a busy machine may need a longer one."""
    said: Mapping[str, JsonValue] = {}
    for patience_s in (0.5, 2.0, 10.0):
        state = git_state(directory, {**os.environ, **path}, Masks(), patience_s) or {}
        said = {name: state.get(name) for name in expected}
        if said == expected:
            return
    assert said == expected


def put_in_the_way(tmp_path: Path, script: str) -> dict[str, str]:
    """A path on which `script` is git; what it has to say it gets from the real one, ``$git``."""
    real = subprocess.run(["sh", "-c", "command -v git"], check=True, capture_output=True, text=True).stdout.strip()
    place = tmp_path / "bin" / "git"
    place.parent.mkdir()
    place.write_text(f"#!/bin/sh\ngit={real}\n{script}\n")
    place.chmod(0o755)
    return {"PATH": f"{place.parent}:{os.environ['PATH']}"}


def is_alive(pid: str) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_clean_repository_says_its_commit_and_nothing_else(repository: Path) -> None:
    assert state_of(repository) == {
        "commit": run_git(repository, "rev-parse", "HEAD"),
        "branch": "topic",
        "remote": None,
        "root": str(repository),
        "dirty": False,
        "diff": "",
        "diff_cut_bytes": 0,
    }


def test_outside_of_a_repository_before_its_first_commit_and_without_git_nothing_is_said(tmp_path: Path) -> None:
    assert git_state(tmp_path, os.environ, Masks()) is None
    run_git(tmp_path, "init", "-q")
    assert git_state(tmp_path, os.environ, Masks()) is None
    assert git_state(tmp_path, {"PATH": str(tmp_path)}, Masks()) is None


def test_a_detached_head_has_no_branch_and_a_file_that_git_does_not_track_is_dirt(repository: Path) -> None:
    run_git(repository, "checkout", "-q", "--detach")
    (repository / "notes").write_text("x")
    state = state_of(repository)
    assert (state["branch"], state["dirty"], state["diff"]) == (None, True, "")


def test_a_submodule_that_moved_is_a_line_of_the_diff(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run_git(tmp_path, "clone", "-q", str(repository), str(other))
    run_git(repository, "submodule", "--quiet", "add", str(other), "lib")
    run_git(repository, "commit", "-q", "-m", "with lib")
    run_git(repository / "lib", "commit", "-q", "--allow-empty", "-m", "on")
    diff = str(state_of(repository)["diff"])
    assert f"+Subproject commit {run_git(repository / 'lib', 'rev-parse', 'HEAD')}" in diff


def test_the_users_own_settings_of_git_do_not_change_what_a_diff_looks_like(repository: Path) -> None:
    below = repository / "below"
    below.mkdir()
    (repository / "train.py").write_text("lr = 0.2\n")
    for name, value in (("color.ui", "always"), ("diff.relative", "true"), ("diff.external", "false")):
        run_git(repository, "config", name, value)
    diff = str(state_of(below)["diff"])
    assert "\n-lr = 0.1\n+lr = 0.2\n" in diff
    assert "\x1b" not in diff


def test_of_a_large_diff_the_beginning_is_kept_and_no_secret_is_halved_at_its_end(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "0123456789" * 100)
    train = repository / "train.py"
    train.write_text("")
    head = len(str(state_of(repository)["diff"]).encode())
    train.write_text("#" * (MAX_DIFF_BYTES - head - 200) + "0123456789" * 100 + "#" * 500_000 + "\n")
    state = state_of(repository)
    diff = str(state["diff"])
    assert len(diff) <= MAX_DIFF_BYTES
    assert "0123456789" not in diff
    assert int(str(state["diff_cut_bytes"])) > 300_000


def test_of_a_diff_without_end_only_so_much_is_read(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "MAX_READ_BYTES", 1_000_000)
    endless = put_in_the_way(tmp_path, 'case "$*" in *ext-diff*) exec yes;; *) exec "$git" "$@";; esac')
    state = state_of(repository, **endless)
    assert str(state["diff"]).startswith("y\ny\n")
    assert int(str(state["diff_cut_bytes"])) >= 1_000_000 - MAX_DIFF_BYTES


def test_a_diff_that_is_not_said_to_its_end_lacks_its_last_part(repository: Path, tmp_path: Path) -> None:
    halting = put_in_the_way(
        tmp_path,
        f'case "$*" in *ext-diff*) yes | head -c {MARGIN_BYTES + 10}; exec sleep 600;; *) exec "$git" "$@";; esac',
    )
    check_slow_git(repository, halting, {"diff": "y\n" * 5, "diff_cut_bytes": MARGIN_BYTES})


def test_a_git_from_before_diffs_could_be_relative_tells_a_diff(repository: Path, tmp_path: Path) -> None:
    old = put_in_the_way(tmp_path, 'case "$*" in *--no-relative*) exit 129;; *) exec "$git" "$@";; esac')
    (repository / "train.py").write_text("lr = 0.2\n")
    assert "+lr = 0.2" in str(state_of(repository, **old)["diff"])


def test_a_git_that_hangs_is_ended_with_what_it_started_and_the_rest_is_said(repository: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    hanging = put_in_the_way(
        tmp_path, f'case "$*" in *status*) sleep 600 & echo $! $$ >{pids}; wait;; *) exec "$git" "$@";; esac'
    )
    check_slow_git(repository, hanging, {"root": str(repository), "branch": "topic", "dirty": None, "diff": None})
    wait_until(lambda: not any(is_alive(pid) for pid in pids.read_text().split()), what="git and its child to go")


def facts_of(lab: Lab) -> list[Any]:
    return [record.body["value"] for record in lab.records() if record.kind == "data"]


def test_a_short_run_has_its_facts_also_where_git_hangs(lab: Lab, tmp_path: Path) -> None:
    hanging = put_in_the_way(tmp_path, "sleep 600")
    ended = lab.run(
        "import flashtrial\nflashtrial.init(settings={'finish_timeout_s': 0})", FLASHTRIAL_FACTS="1", **hanging
    )
    assert ended.status == 0, ended
    wait_until(lambda: bool(facts_of(lab)), what="the facts")
    [facts] = facts_of(lab)
    assert facts["python"]["executable"] == sys.executable
    assert "git" not in facts
