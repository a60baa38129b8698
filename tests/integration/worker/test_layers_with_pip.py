"""The same layers from the pip of an interpreter, for those who do not want uv."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.process.environment import Environment
from flashtrial.worker.dependency_installer import DependencyInstaller
from flashtrial.worker.install.base_packages import BasePackages
from flashtrial.worker.install.install_errors import InstallFailed
from testkit.wheels import make_source, make_wheel, offline


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with a pip of its own, which the standard library brings."""
    venv = tmp_path_factory.mktemp("with-pip") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    return venv / "bin" / "python"


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    links = tmp_path / "links"
    for name, value in offline(links).items():
        monkeypatch.setenv(name, value)
    make_wheel(links, "tiny", "1.0")
    make_wheel(links, "tiny", "2.0", requires=["helper"])
    make_wheel(links, "helper", "1.0")
    return links


@pytest.fixture
def installer(flashtrial_home: Path, python: Path) -> Iterator[DependencyInstaller]:
    site = next(python.parent.parent.glob("lib/python*/site-packages"))
    installer = DependencyInstaller(flashtrial_home, base=BasePackages([str(site)], str(python)))
    yield installer
    installer.close()


def version_of(module: str, environment: Environment) -> str:
    source = f"import sys; sys.path[:0] = {list(environment.path_strings)!r}; import {module}; print({module}.version)"
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.strip()


async def test_pip_gives_the_layer_that_uv_gives(
    installer: DependencyInstaller, links: Path, caplog: pytest.LogCaptureFixture, flashtrial_home: Path
) -> None:
    caplog.set_level(logging.INFO, logger="flashtrial")
    environment = await installer.environment_for(["tiny>=1"], accelerate=False)
    assert environment.packages == ("helper", "tiny")
    assert version_of("tiny", environment) == "2.0"
    assert f"into layer {environment.key} (pip)" in caplog.text
    assert "2 packages: helper==1.0, tiny==2.0" in caplog.text
    assert not (flashtrial_home / "cache").exists()
    assert await installer.environment_for(["tiny>=1"], accelerate=True) == environment


async def test_what_the_base_has_is_not_installed_again(
    installer: DependencyInstaller, links: Path, python: Path
) -> None:
    wheel = str(links / "helper-1.0-py3-none-any.whl")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-index", wheel], check=True)
    try:
        environment = await installer.environment_for(["tiny==2.0"], accelerate=False)
    finally:
        subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "helper"], check=True)
    assert environment.packages == ("tiny",)


async def test_settings_of_pip_are_followed_but_for_where_packages_go(
    installer: DependencyInstaller, links: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {links}\nuser = true\n")
    for name in offline(links):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    environment = await installer.environment_for(["tiny==1.0"], accelerate=False)
    assert version_of("tiny", environment) == "1.0"


async def test_failures_of_pip_are_told_in_its_words(installer: DependencyInstaller, links: Path) -> None:
    with pytest.raises(InstallFailed, match=r"could not install absent: pip ended(.|\n)*No matching distribution"):
        await installer.environment_for(["absent"], accelerate=False)
    with pytest.raises(InstallFailed, match=r"(?s)tiny==1.0 and tiny==2.0.*conflicting"):
        await installer.environment_for(["tiny==1.0", "tiny==2.0"], accelerate=False)
    make_source(links, "broken", before="raise RuntimeError('this code is from another age')")
    with pytest.raises(InstallFailed, match="this code is from another age"):
        await installer.environment_for(["broken"], accelerate=False)


async def test_interpreter_without_pip_gets_its_layers_from_uv_and_says_so(
    flashtrial_home: Path, links: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO, logger="flashtrial")
    (tmp_path / "empty").mkdir()
    installer = DependencyInstaller(flashtrial_home, base=BasePackages([str(tmp_path / "empty")]))
    environment = await installer.environment_for(["tiny==1.0"], accelerate=False)
    assert "has no pip that can be used: using uv" in caplog.text
    assert f"into layer {environment.key} (uv)" in caplog.text
    installer.close()
