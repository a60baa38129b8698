"""Missing compilers and large system packages, with programs of apt's names that change nothing but a directory."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.worker.dependency_installer import DependencyInstaller
from flashtrial.worker.install.install_errors import InstallFailed
from flashtrial.worker.install.system_packages import SystemPackages
from testkit.wheels import make_source, offline

NEEDS_GCC = (
    "import shutil\nif not shutil.which('gcc'): sys.exit(\"error: command 'gcc' failed: No such file or directory\")"
)


class Machine:
    """A PATH with stand-ins for the package manager, which write down how they were called."""

    def __init__(self, root: Path) -> None:
        self.programs = root / "bin"
        self._calls = root / "calls"
        self.programs.mkdir(parents=True)
        self._calls.touch()
        for name in ("sh", "touch", "chmod", "echo"):
            (self.programs / name).symlink_to(shutil.which(name) or "")
        self._put("dpkg-query", "exit 1")  # it knows nothing

    def program(self, name: str, script: str) -> None:
        self._put(name, f'echo "{name} $*" >> {self._calls}\n{script}')

    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines()

    def _put(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "machine")
    monkeypatch.setenv("PATH", str(machine.programs))
    return machine


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in offline(tmp_path / "links").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "links"


@pytest.fixture
def installer(flashtrial_home: Path) -> Iterator[DependencyInstaller]:
    installer = DependencyInstaller(flashtrial_home, system=SystemPackages(platform="linux", is_root=True))
    yield installer
    installer.close()


async def test_compiler_is_installed_and_the_build_retried(
    machine: Machine, links: Path, installer: DependencyInstaller
) -> None:
    make_source(links, "native", before=NEEDS_GCC)
    machine.program("apt-get", f"touch {machine.programs}/gcc; chmod +x {machine.programs}/gcc")
    environment = await installer.environment_for(["native"])
    assert environment.packages == ("native",)
    (call,) = machine.calls()
    assert call.startswith("apt-get install -y")
    assert "--no-remove" in call
    assert call.endswith("-- build-essential")


async def test_build_is_retried_once_only(machine: Machine, links: Path, installer: DependencyInstaller) -> None:
    make_source(links, "native", before=NEEDS_GCC)
    machine.program("apt-get", "exit 0")  # it says that it did, and there still is no compiler
    with pytest.raises(InstallFailed, match="command 'gcc' failed"):
        await installer.environment_for(["native"])
    assert len(machine.calls()) == 1


async def test_compiler_that_cannot_be_had_is_told_with_the_build_error(
    machine: Machine, links: Path, installer: DependencyInstaller
) -> None:
    make_source(links, "native", before=NEEDS_GCC)
    machine.program("apt-get", "echo 'E: no network' >&2; exit 100")
    with pytest.raises(InstallFailed, match=r"(?s)could not install native.*'gcc' failed.*no compiler.*E: no network"):
        await installer.environment_for(["native"])


async def test_worker_without_root_says_what_is_missing_and_calls_nothing(
    machine: Machine, links: Path, flashtrial_home: Path
) -> None:
    make_source(links, "native", before=NEEDS_GCC)
    machine.program("apt-get", "exit 0")
    installer = DependencyInstaller(flashtrial_home, system=SystemPackages(platform="linux", is_root=False))
    with pytest.raises(InstallFailed, match=r"(?s)'gcc' failed.*cannot install build-essential"):
        await installer.environment_for(["native"])
    assert machine.calls() == []


async def test_other_build_failures_install_no_compiler(
    machine: Machine, links: Path, installer: DependencyInstaller
) -> None:
    make_source(links, "broken", before="raise RuntimeError('this code is from another age')")
    machine.program("apt-get", "exit 0")
    with pytest.raises(InstallFailed, match="this code is from another age"):
        await installer.environment_for(["broken"])
    assert machine.calls() == []


async def test_large_packages_are_downloaded_by_nala_and_installed_by_apt_get(machine: Machine) -> None:
    machine.program("nala", "exit 0")
    machine.program("apt-get", "exit 0")
    await SystemPackages(platform="linux", is_root=True).ensure(["ffmpeg", "curl"])
    nala, apt_get = machine.calls()
    assert nala.startswith("nala install -y --download-only")
    assert nala.endswith("-- ffmpeg curl")
    assert apt_get.endswith("-- ffmpeg curl")


@pytest.mark.parametrize(("names", "accelerate"), [(["curl"], True), (["ffmpeg"], False)])
async def test_small_packages_and_those_not_accelerated_need_no_nala(
    machine: Machine, names: list[str], accelerate: bool
) -> None:
    machine.program("nala", "exit 0")
    machine.program("apt-get", "exit 0")
    await SystemPackages(platform="linux", is_root=True).ensure(names, accelerate)
    assert [call.split()[0] for call in machine.calls()] == ["apt-get"]


@pytest.mark.parametrize("there", [True, False])
async def test_apt_get_does_without_nala(machine: Machine, there: bool) -> None:
    if there:
        machine.program("nala", "exit 1")
    machine.program("apt-get", "exit 0")
    await SystemPackages(platform="linux", is_root=True).ensure(["ffmpeg:amd64=7:5.1.6-0"])
    assert machine.calls()[-1].endswith("-- ffmpeg:amd64=7:5.1.6-0")


async def test_deadline_of_the_package_manager_is_an_install_failure(machine: Machine) -> None:
    machine.program("apt-get", f"exec {os.path.realpath(shutil.which('sleep', path='/bin:/usr/bin') or '')} 60")
    with pytest.raises(
        InstallFailed, match=r"could not install system packages curl: apt-get did not end within 0.2 s"
    ):
        await SystemPackages(0.2, platform="linux", is_root=True).ensure(["curl"])


async def test_lists_are_renewed_once_when_a_package_is_not_found(machine: Machine) -> None:
    renewed = machine.programs.parent / "renewed"
    machine.program("apt-get", f'[ "$1" = update ] && touch {renewed}; [ -e {renewed} ]')
    await SystemPackages(platform="linux", is_root=True).ensure(["curl"])
    assert [call.split()[1] for call in machine.calls()] == ["install", "update", "install"]
