"""The steps of Dockerfile-cpu in a clean root file system, and the linters: minutes, and packages from an index."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ("debootstrap", "buildah", "unshare")
# read at import: the tests' own environment is without our variables
REQUIRED = bool(os.environ.get("FLASHTRIAL_REQUIRE_IMAGE_TOOLS"))


def lacking() -> str:
    """Why the image cannot be built on this machine; empty when it can."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "needs root"


def script(name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1700,
        check=False,
    )


@pytest.mark.skipif(bool(lacking()) and not REQUIRED, reason=f"no image is built here: {lacking()}")
def test_the_cpu_image_built_in_a_clean_root_answers_jobs_and_tells_its_health() -> None:
    ran = script("build_image_in_chroot.sh")
    assert ran.returncode == 0, ran.stdout[-4000:]
    tried = [
        line.split("(")[0].split(maxsplit=1)[1].strip() for line in ran.stdout.splitlines() if line.startswith("ok ")
    ]
    assert tried == ["version", "a job", "a job with a dependency", "command and health check"]


def test_no_linter_objects_to_dockerfiles_scripts_and_workflows() -> None:
    ran = script("check_images.sh")
    assert ran.returncode == 0, ran.stdout
