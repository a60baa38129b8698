"""System packages with the real dpkg and apt-get."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.worker.install.install_errors import InstallFailed
from flashtrial.worker.install.system_packages import SystemPackages

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="this machine has no dpkg")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can install system packages")
SMALL = "hello"  # 50 KB, and nothing depends on it


@needs_dpkg
async def test_installed_packages_are_not_installed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(shutil.which("dpkg-query") or "").parent))
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout
    await SystemPackages(deadline_s=0).ensure(["dpkg", "bash", f"dpkg:{architecture.strip()}"])


async def test_machine_without_dpkg_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InstallFailed, match="curl: this machine has no dpkg"):
        await SystemPackages(platform="linux").ensure(["curl"])


@needs_dpkg
@needs_root
def test_user_who_is_not_root_is_told_so() -> None:
    source = (
        "import asyncio, os; from flashtrial.worker.install.system_packages import SystemPackages; os.setuid(65534);"
        f"asyncio.run(SystemPackages().ensure(['{SMALL}-traditional-zq']))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, cwd="/")
    assert "only root can install them" in done.stderr


@pytest.fixture
def absent() -> Iterator[str]:
    """A small package that this machine does not have, nor has afterwards."""
    if subprocess.run(["dpkg-query", "--show", SMALL], capture_output=True, check=False).returncode == 0:
        pytest.skip(f"{SMALL} is installed here, and not ours to remove")
    yield SMALL
    purge = ["apt-get", "purge", "-y", "-q", "-o", "DPkg::Lock::Timeout=60", SMALL]
    subprocess.run(purge, capture_output=True, check=True)


@needs_dpkg
@needs_root
@pytest.mark.network
@pytest.mark.slow
async def test_missing_package_is_installed(absent: str) -> None:
    await SystemPackages().ensure(["dpkg", absent])
    assert subprocess.run([absent, "--greeting=works"], capture_output=True, text=True, check=True).stdout == "works\n"


@needs_dpkg
@needs_root
@pytest.mark.network
@pytest.mark.slow
async def test_unknown_package_is_named_with_apts_own_words() -> None:
    with pytest.raises(InstallFailed, match="could not install system packages no-such-package-zq") as caught:
        await SystemPackages().ensure(["no-such-package-zq"])
    assert "Unable to locate package" in str(caught.value)
