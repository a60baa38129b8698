"""What is pinned is installed while the rest is resolved, and from the cache where it has all: with the real uv."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.process.environment import Environment
from flashtrial.worker.dependency_installer import DependencyInstaller
from flashtrial.worker.install.install_errors import InstallFailed
from testkit.package_index import PackageIndex
from testkit.wheels import make_source, make_wheel, offline


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    for name in (*offline(tmp_path), "PIP_EXTRA_INDEX_URL", "UV_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    links = tmp_path / "links"
    make_wheel(links, "top", "1.0", requires=["helper"])
    make_wheel(links, "helper", "1.0")
    make_wheel(links, "tiny", "1.0")
    with PackageIndex(links).serving() as index:
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        yield index


@pytest.fixture
def installer(flashtrial_home: Path) -> Iterator[DependencyInstaller]:
    installer = DependencyInstaller(flashtrial_home)
    yield installer
    installer.close()


def versions(environment: Environment, *modules: str) -> str:
    source = f"import sys; sys.path[:0] = {list(environment.path_strings)!r}\n"
    source += "\n".join(f"import {module}; print({module}.version)" for module in modules)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout


async def test_what_comes_with_a_pinned_package_is_installed_after_it(installer: DependencyInstaller) -> None:
    environment = await installer.environment_for(["top==1.0", "tiny"])
    assert environment.packages == ("helper", "tiny", "top")
    assert versions(environment, "helper", "tiny", "top") == "1.0\n1.0\n1.0\n"


async def test_pins_that_are_in_the_cache_ask_no_index(
    installer: DependencyInstaller, index: PackageIndex, tmp_path: Path
) -> None:
    await installer.environment_for(["top==1.0"])
    index.asked.clear()
    index.status = 500
    other = DependencyInstaller(tmp_path / "other")
    assert versions(await other.environment_for(["top==1.0"]), "helper", "top") == "1.0\n1.0\n"
    assert index.asked == []
    other.close()


async def test_what_is_not_pinned_is_asked_for_and_the_newest_is_taken(
    installer: DependencyInstaller, index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await installer.environment_for(["tiny"])
    make_wheel(index.links, "tiny", "2.0")
    other = DependencyInstaller(tmp_path / "other")
    assert versions(await other.environment_for(["tiny"]), "tiny") == "2.0\n"
    other.close()


@pytest.mark.parametrize("pin", ["tiny==1", "tiny==1.0.0", "Tiny == 1.0"])
async def test_pin_may_be_spelled_otherwise_than_the_version(installer: DependencyInstaller, pin: str) -> None:
    environment = await installer.environment_for([pin])
    assert environment.packages == ("tiny",)
    assert versions(environment, "tiny") == "1.0\n"


async def test_local_version_that_fits_a_pin_is_installed_once_and_whole(
    installer: DependencyInstaller, index: PackageIndex
) -> None:
    make_wheel(index.links, "special", "1.0+cpu")
    assert versions(await installer.environment_for(["special==1.0"]), "special") == "1.0+cpu\n"


async def test_pin_whose_company_cannot_be_had_is_told_by_the_resolution(
    installer: DependencyInstaller, index: PackageIndex, flashtrial_home: Path
) -> None:
    make_wheel(index.links, "needy", requires=["absent>=3"])
    with pytest.raises(InstallFailed, match=r"(?s)could not install needy==1.0.*absent"):
        await installer.environment_for(["needy==1.0"])
    assert [path for path in (flashtrial_home / "layers").iterdir() if path.is_dir()] == []


async def test_pinned_package_that_cannot_be_built_is_built_no_more_often_than_needed(
    installer: DependencyInstaller, index: PackageIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="flashtrial")
    builds = tmp_path / "builds"
    during = f"open({str(builds)!r}, 'a').write('x'); raise RuntimeError('this code is from another age')"
    make_source(index.links, "broken", during=during)
    with pytest.raises(InstallFailed, match="this code is from another age"):
        await installer.environment_for(["broken==1.0"])
    assert len(builds.read_text()) <= 2  # one to know what it needs, one to install it
    assert caplog.text == ""
