"""Dependencies installed by the real uv from the real index, and what a kill at any moment leaves."""

import asyncio
import hashlib
import logging
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from flashtrial.process.environment import BASE, Environment
from flashtrial.protocol.execution import FailureKind
from flashtrial.worker.dependency_installer import DependencyInstaller
from flashtrial.worker.install.install_errors import InstallFailed, RequirementRefused
from flashtrial.worker.install.install_settings import InstallSettings
from flashtrial.worker.layers import Layers
from testkit import wait_until, wait_until_async

INSTALL = """
import asyncio, logging, pathlib, sys
from flashtrial.worker.dependency_installer import DependencyInstaller
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
environment = asyncio.run(DependencyInstaller(pathlib.Path(sys.argv[1])).environment_for(sys.argv[2:]))
print("environment", environment.key, *environment.paths)
"""
NO_SUBPROCESS = """
import sys
def watch(event, arguments):
    if event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"):
        print("started", arguments, flush=True)
sys.addaudithook(watch)
"""


def python_with(environment: Environment, source: str) -> str:
    """What a fresh interpreter prints that has the environment in front of its path, as a child has."""
    front = f"import sys; sys.path[:0] = {[str(path) for path in environment.paths]!r}\n"
    done = subprocess.run([sys.executable, "-c", front + source], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def start_install(home: Path, dependencies: Sequence[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", INSTALL, str(home), *dependencies]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def left_beside(home: Path) -> list[str]:
    return [path.name for path in (home / "layers").glob(".*.*") if path.is_dir()]


def running_uv() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.name() == "uv"]


@pytest.fixture
def installer(flashtrial_home: Path) -> DependencyInstaller:
    return DependencyInstaller(flashtrial_home)


async def test_nothing_missing_is_the_base(installer: DependencyInstaller, flashtrial_home: Path) -> None:
    assert await installer.environment_for(["numpy>=2", "pytest", "packaging"]) == BASE
    assert await installer.environment_for(None) == BASE
    assert await installer.environment_for([]) == BASE
    assert not flashtrial_home.exists()


def test_satisfied_dependencies_start_no_subprocess(flashtrial_home: Path) -> None:
    arguments = [str(flashtrial_home), "numpy>=2", "typer", "uvicorn"]
    command = [sys.executable, "-c", NO_SUBPROCESS + INSTALL, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "environment base\n"


@pytest.mark.parametrize("dependency", ["-r /etc/passwd", "six; touch x", "file:///etc", "six\n--index-url=x"])
async def test_what_is_no_requirement_is_refused_and_nothing_runs(
    installer: DependencyInstaller, flashtrial_home: Path, dependency: str
) -> None:
    with pytest.raises(RequirementRefused):
        await installer.environment_for(["tabulate", dependency])
    assert not flashtrial_home.exists()


@pytest.mark.network
async def test_layer_is_built_once_and_importable(
    installer: DependencyInstaller, flashtrial_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="flashtrial")
    environment = await installer.environment_for(["tabulate==0.9.0", "numpy"])
    assert environment.packages == ("tabulate",)
    assert python_with(environment, "import tabulate; print(tabulate.__file__)").startswith(str(environment.paths[0]))
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"installing tabulate==0.9.0 into layer {environment.key} (uv)"
    assert re.fullmatch(rf"layer {environment.key} ready in [\d.]+ s, 1 packages: tabulate==0.9.0", said[1])

    assert await installer.environment_for(["numpy", "Tabulate == 0.9.0"]) == environment
    assert await DependencyInstaller(flashtrial_home).environment_for(["tabulate==0.9.0", "numpy"]) == environment
    assert len(caplog.records) == 2
    assert left_beside(flashtrial_home) == []


@pytest.mark.network
async def test_another_numpy_than_the_bases_works_and_the_base_does_not_change(
    installer: DependencyInstaller,
) -> None:
    before = contents_of_site_packages()
    environment = await installer.environment_for(["numpy<2"])
    said = python_with(environment, "import numpy; print(numpy.__version__, numpy.dot([1., 2.], [3., 4.]))")
    assert re.fullmatch(r"1\.\d+\.\d+ 11\.0\n", said)
    assert python_with(BASE, "import numpy; print(numpy.__version__)").startswith("2.")
    assert contents_of_site_packages() == before


def contents_of_site_packages() -> str:
    """A hash over every file that was installed; compiled files come and go by themselves."""
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(sysconfig.get_path("purelib")):
        folders[:] = sorted(set(folders) - {"__pycache__"})
        for name in sorted(names):
            with (Path(folder) / name).open("rb") as file:
                digest.update(f"{folder}/{name}".encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@pytest.mark.network
async def test_conflicting_pins_live_side_by_side(installer: DependencyInstaller) -> None:
    old, new = await asyncio.gather(
        installer.environment_for(["iniconfig==1.1.1"]), installer.environment_for(["iniconfig==2.0.0"])
    )
    version = "import importlib.metadata; print(importlib.metadata.version('iniconfig'))"
    assert (python_with(old, version), python_with(new, version)) == ("1.1.1\n", "2.0.0\n")


@pytest.mark.network
async def test_unknown_package_is_named_with_the_reason(installer: DependencyInstaller, flashtrial_home: Path) -> None:
    with pytest.raises(InstallFailed) as caught:
        await installer.environment_for(["numpy", "no-such-package-flashtrial-zq"])
    assert caught.value.kind is FailureKind.INSTALL
    assert "could not install no-such-package-flashtrial-zq" in str(caught.value)
    assert "not found in the package registry" in str(caught.value)
    assert left_beside(flashtrial_home) == []


@pytest.mark.network
async def test_requirements_that_exclude_each_other_are_named(installer: DependencyInstaller) -> None:
    with pytest.raises(InstallFailed, match=r"iniconfig==1.1.1 and iniconfig==2.0.0"):
        await installer.environment_for(["iniconfig==1.1.1", "iniconfig==2.0.0"])


async def test_index_that_is_down_is_an_install_failure(
    installer: DependencyInstaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(InstallFailed, match="could not install tabulate") as caught:
        await installer.environment_for(["tabulate"])
    assert "127.0.0.1:9" in str(caught.value)


async def test_deadline_is_an_install_failure_that_says_so(flashtrial_home: Path) -> None:
    installer = DependencyInstaller(flashtrial_home, settings=InstallSettings(deadline_s=0))
    with pytest.raises(InstallFailed, match=r"could not install tabulate: not done after 0 s"):
        await installer.environment_for(["tabulate"])


@pytest.mark.network
async def test_requests_at_the_same_time_share_one_build(
    installer: DependencyInstaller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="flashtrial")
    environments = await asyncio.gather(*(installer.environment_for(["tabulate"]) for _ in range(5)))
    assert len(set(environments)) == 1
    assert sum("installing" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.network
async def test_one_that_stops_waiting_does_not_end_the_build_for_the_others(
    installer: DependencyInstaller, flashtrial_home: Path
) -> None:
    leaver, stayer = (asyncio.create_task(installer.environment_for(["tabulate"])) for _ in range(2))
    await wait_until_async(lambda: left_beside(flashtrial_home), 20, "the build to begin")
    leaver.cancel()
    assert (await stayer).packages == ("tabulate",)
    assert leaver.cancelled()


@pytest.mark.network
async def test_build_that_nobody_waits_for_is_ended_and_leaves_nothing(
    installer: DependencyInstaller, flashtrial_home: Path
) -> None:
    task = asyncio.create_task(installer.environment_for(["tabulate"]))
    await wait_until_async(running_uv, 20, "uv to run")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert running_uv() == []
    assert left_beside(flashtrial_home) == []
    assert (await installer.environment_for(["tabulate"])).packages == ("tabulate",)


SIGNS = [".*.lock", ".*.*/site", ".*.*/requirements.txt", ".*.*/resolved.txt", ".*.*/site/*", ".*.*/manifest.json"]


@pytest.mark.network
@pytest.mark.parametrize("sign", SIGNS)
async def test_cancellation_at_any_step_leaves_a_whole_layer_or_none(flashtrial_home: Path, sign: str) -> None:
    layers = flashtrial_home / "layers"
    installer = DependencyInstaller(flashtrial_home)
    task = asyncio.create_task(installer.environment_for(["tabulate==0.9.0"]))
    await wait_until_async(lambda: any(layers.glob(sign)) or any(layers.glob("[!.]*")), 30, sign)
    task.cancel()
    await asyncio.wait([task])
    assert left_beside(flashtrial_home) == []
    for layer in layers.glob("[!.]*"):
        assert Layers(layers).find(layer.name) is not None
    environment = await installer.environment_for(["tabulate==0.9.0"])
    assert python_with(environment, "import tabulate; print(tabulate.tabulate([['whole']]))").count("whole") == 1


@pytest.mark.network
def test_two_processes_build_one_layer_once(flashtrial_home: Path) -> None:
    said = [start.communicate(timeout=50)[0] for start in [start_install(flashtrial_home, ["tabulate"]) for _ in "ab"]]
    assert len({text.splitlines()[-1] for text in said}) == 1
    assert "".join(said).count(" ready in ") == 1


@pytest.mark.network
async def test_layer_that_was_written_into_is_built_again_though_the_cache_is_damaged_too(
    installer: DependencyInstaller, flashtrial_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_CACHE_DIR")  # its own cache, in its home
    environment = await installer.environment_for(["tabulate"])
    module = environment.paths[0] / "tabulate" / "__init__.py"
    assert module.stat().st_nlink > 1
    module.write_text("")
    assert await DependencyInstaller(flashtrial_home).environment_for(["tabulate"]) == environment
    assert "ok" in python_with(environment, "import tabulate; print(tabulate.tabulate([['ok']]))")


@pytest.mark.network
@pytest.mark.parametrize("sign", SIGNS)
def test_kill_at_any_step_leaves_no_half_built_layer(flashtrial_home: Path, sign: str) -> None:
    layers = flashtrial_home / "layers"
    victim = start_install(flashtrial_home, ["tabulate==0.9.0"])
    try:
        # the last signs are there for a millisecond only: then the finished layer is as good a moment
        wait_until(lambda: any(layers.glob(sign)) or any(layers.glob("[!.]*")), 30, sign)
    finally:
        victim.kill()
        victim.communicate()
    assert all((layer / "manifest.json").is_file() for layer in layers.glob("[!.]*"))

    said, _ = start_install(flashtrial_home, ["tabulate==0.9.0"]).communicate(timeout=50)
    key, path = said.splitlines()[-1].split()[1:]
    environment = Environment(key, (Path(path),))
    assert python_with(environment, "import tabulate; print(tabulate.tabulate([['whole']]))").count("whole") == 1
