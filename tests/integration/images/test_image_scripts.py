"""The scripts around the images, as far as they need no engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd="/",
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize(
    ("variant", "reference", "tags"),
    [
        ("gpu", "main", "main"),
        ("cpu", "main", "main-cpu"),
        ("gpu", "v1.2.3", "1.2.3 1.2 1 latest"),
        ("cpu", "v10.20.30", "10.20.30-cpu 10.20-cpu 10-cpu latest-cpu"),
        ("gpu", "v0.1.0", "0.1.0 0.1 latest"),
        ("gpu", "v1.0.0-rc.1", "1.0.0-rc.1"),
    ],
)
def test_an_image_is_tagged_with_what_it_is(variant: str, reference: str, tags: str) -> None:
    ran = run(f"{ROOT}/scripts/image_tags.sh", variant, reference)
    assert (ran.returncode, ran.stdout.split()) == (0, tags.split())


@pytest.mark.parametrize(
    "arguments", [("gpu", "feature"), ("gpu", "1.2.3"), ("gpu", "v1.2"), ("tpu", "main"), ("gpu",)]
)
def test_what_is_no_version_gets_no_tag(arguments: tuple[str, ...]) -> None:
    ran = run(f"{ROOT}/scripts/image_tags.sh", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr


@pytest.mark.parametrize(("variant", "dockerfile"), [("gpu", "Dockerfile"), ("cpu", "Dockerfile-cpu")])
def test_a_build_names_its_platform_its_version_and_its_commit(variant: str, dockerfile: str) -> None:
    words = run(f"{ROOT}/scripts/build_image.sh", variant, ENGINE="echo docker", COMMIT="abc123").stdout.split()
    assert words[:4] == ["docker", "build", "--platform", "linux/amd64"]
    assert words[words.index("--file") + 1] == dockerfile
    assert words[words.index("--tag") + 1] == f"flashtrial:{variant}"
    assert "COMMIT=abc123" in words
    assert [word for word in words if word.startswith("VERSION=") and word != "VERSION="]


def test_an_engine_whose_own_format_has_no_health_check_is_told_another() -> None:
    assert "--format docker" in run(f"{ROOT}/scripts/build_image.sh", "cpu", ENGINE="echo buildah").stdout


def test_what_runs_from_a_source_tree_is_no_image(tmp_path: Path) -> None:
    """Our own environment in place of a container: it answers, but from an editable installation."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    home = f"FLASHTRIAL_HOME={tmp_path}"
    ran = run(f"{ROOT}/scripts/try_image.py", "env", f"PATH={path}", home)
    assert ran.stdout.startswith("ok      version")
    assert ran.returncode == 1
    assert "a job: found {" in ran.stderr
    assert "'token': True" in ran.stderr
