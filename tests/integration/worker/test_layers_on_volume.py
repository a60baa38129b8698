"""What one worker leaves on the network volume and the next one takes, in homes of their own."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flashtrial.process.environment import Environment
from flashtrial.worker.dependency_installer import DependencyInstaller
from flashtrial.worker.install.install_settings import InstallSettings
from testkit import wait_until
from testkit.wheels import make_source, make_wheel, offline

ONE_WORKER = """
import asyncio, logging, pathlib, sys
from flashtrial.worker.dependency_installer import DependencyInstaller
from flashtrial.worker.install.install_settings import InstallSettings
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
home, volume, *dependencies = sys.argv[1:]
settings = InstallSettings(volume=pathlib.Path(volume), endpoint="ep")
installer = DependencyInstaller(pathlib.Path(home), settings=settings)
environment = asyncio.run(installer.environment_for(dependencies))
print("answered", flush=True)
installer.close(60)
print("ended", *environment.paths)
"""


@pytest.fixture(autouse=True)
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    links = tmp_path / "links"
    for name, value in offline(links).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UV_CACHE_DIR")
    make_wheel(links, "tiny", "1.0", files={"tiny.py": "version = '1.0'\n", "tiny_data.bin": "x" * 50_000})
    make_source(links, "built", "3.0")
    return links


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[str], int]:
    """How often a stage was logged, by its slug."""
    caplog.set_level(logging.INFO, logger="flashtrial")
    return lambda action: sum(getattr(record, "action", "") == action for record in caplog.records)


@asynccontextmanager
async def worker(home: Path, volume: Path, endpoint: str = "ep") -> AsyncIterator[DependencyInstaller]:
    """A worker on a machine of its own; at its end what it leaves is on the volume."""
    installer = DependencyInstaller(home, settings=InstallSettings(volume=volume, endpoint=endpoint))
    yield installer
    assert await asyncio.to_thread(installer.close, 30)


def version_of(module: str, environment: Environment) -> str:
    source = f"import sys; sys.path[:0] = {list(environment.path_strings)!r}; import {module}; print({module}.version)"
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.strip()


def layers_on(volume: Path) -> list[str]:
    return sorted(path.name for path in (volume / ".flashtrial" / "layers").glob("[!.]*"))


async def test_layer_that_one_worker_built_the_next_one_takes(
    tmp_path: Path, volume: Path, links: Path, said: Callable[[str], int]
) -> None:
    async with worker(tmp_path / "one", volume) as first:
        built = await first.environment_for(["tiny==1.0"])
    assert layers_on(volume) == [built.key]
    (links / "tiny-1.0-py3-none-any.whl").unlink()  # it cannot be built any more
    async with worker(tmp_path / "two", volume, endpoint="another") as second:
        taken = await second.environment_for(["tiny==1.0"])
    assert taken.paths != built.paths
    assert version_of("tiny", taken) == "1.0"
    assert (said("layer_started"), said("layer_hydrated"), said("layer_published")) == (1, 1, 1)


@pytest.mark.parametrize("what", ["flipped byte", "torn", "manifest", "emptied"])
async def test_damaged_copy_is_noticed_rebuilt_and_replaced(
    tmp_path: Path, volume: Path, said: Callable[[str], int], what: str
) -> None:
    async with worker(tmp_path / "one", volume) as first:
        key = (await first.environment_for(["tiny==1.0"])).key
    place = volume / ".flashtrial" / "layers" / key
    content = bytearray((place / "content.tar").read_bytes())
    match what:
        case "flipped byte":
            content[content.index(b"xxxx")] ^= 1
        case "torn":
            del content[len(content) // 2 :]
        case "emptied":
            content.clear()
        case "manifest":
            (place / "manifest.json").write_text("{}")
    (place / "content.tar").write_bytes(content)
    async with worker(tmp_path / "two", volume) as second:
        assert version_of("tiny", await second.environment_for(["tiny==1.0"])) == "1.0"
    assert said("volume_layer_unusable") == 1
    async with worker(tmp_path / "three", volume) as third:
        assert version_of("tiny", await third.environment_for(["tiny==1.0"])) == "1.0"
    assert (said("layer_started"), said("layer_hydrated")) == (2, 1)
    assert [path.name for path in (volume / ".flashtrial" / "layers").iterdir()] == [key]


async def test_cache_of_the_endpoint_spares_the_next_worker_the_build(
    tmp_path: Path, volume: Path, links: Path, said: Callable[[str], int]
) -> None:
    builds = tmp_path / "builds"
    make_source(links, "built", "3.0", during=f"open({str(builds)!r}, 'a').write('built ')")
    for number, (endpoint, dependency) in enumerate([("ep", "built"), ("ep", "built>=3"), ("other", "built==3.0")]):
        async with worker(tmp_path / f"home{number}", volume, endpoint) as installer:
            assert version_of("built", await installer.environment_for([dependency, "tiny"])) == "3.0"
    assert builds.read_text() == "built " * 2  # the other endpoint shares no caches
    assert said("package_hydrated") == 2  # built and tiny, for the second of the first endpoint


async def test_damaged_package_of_the_cache_is_fetched_anew(
    tmp_path: Path, volume: Path, said: Callable[[str], int]
) -> None:
    async with worker(tmp_path / "one", volume) as first:
        await first.environment_for(["built==3.0"])
    for tar in (volume / ".flashtrial" / "endpoints").rglob("content.tar"):
        tar.write_bytes(tar.read_bytes()[:100])
    async with worker(tmp_path / "two", volume) as second:
        assert version_of("built", await second.environment_for(["built==3.0", "tiny"])) == "3.0"
    assert said("volume_package_unusable") == 1


async def test_layer_that_user_code_wrote_into_stays_where_it_is(
    tmp_path: Path, volume: Path, said: Callable[[str], int]
) -> None:
    async with worker(tmp_path / "one", volume) as first:
        environment = await first.environment_for(["tiny==1.0"])
    for layer in (volume / ".flashtrial" / "layers").iterdir():
        subprocess.run(["rm", "-r", str(layer)], check=True)
    (environment.paths[0] / "tiny.py").write_text("version = 'mine'\n" + " " * 20)
    async with worker(tmp_path / "one", volume) as again:
        assert await again.environment_for(["tiny==1.0"]) == environment
    assert layers_on(volume) == []
    assert said("layer_changed") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
async def test_volume_that_is_full_costs_no_answer_and_no_copy(
    tmp_path: Path, volume: Path, links: Path, said: Callable[[str], int]
) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(volume)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts no file systems")
    make_wheel(links, "large", files={"large.py": "version = '1'\n" + "#" * 1_000_000})
    try:
        async with worker(tmp_path / "one", volume) as first:
            kept = await first.environment_for(["tiny==1.0"])
        async with worker(tmp_path / "one", volume) as again:
            assert version_of("large", await again.environment_for(["large"])) == "1"
        assert layers_on(volume) == [kept.key]
        assert [path.name for path in (volume / ".flashtrial" / "layers").iterdir()] == [kept.key]
        assert said("chore_failed") == 1
        async with worker(tmp_path / "two", volume) as second:
            await second.environment_for(["tiny==1.0"])
        assert said("layer_hydrated") == 1
    finally:
        subprocess.run(["umount", str(volume)], check=True)


async def test_volume_that_cannot_be_written_costs_no_answer(tmp_path: Path, said: Callable[[str], int]) -> None:
    (tmp_path / "file").write_text("")
    async with worker(tmp_path / "one", tmp_path / "file") as installer:
        assert version_of("tiny", await installer.environment_for(["tiny==1.0"])) == "1.0"
    assert said("chore_failed") == 1


async def test_home_on_the_volume_is_not_copied_to_it(tmp_path: Path, volume: Path) -> None:
    async with worker(volume / "home", volume) as installer:
        await installer.environment_for(["tiny==1.0"])
    assert [path.name for path in volume.iterdir()] == ["home"]


def start(home: Path, volume: Path, *dependencies: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ONE_WORKER, str(home), str(volume), *dependencies]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_workers_at_once_leave_one_good_copy(tmp_path: Path, volume: Path) -> None:
    workers = [start(tmp_path / str(number), volume, "tiny==1.0") for number in range(2)]
    outputs = [one.communicate(timeout=50)[0] for one in workers]
    assert all("ended" in output for output in outputs), outputs
    assert len(layers_on(volume)) == 1
    taken, _ = start(tmp_path / "third", volume, "tiny==1.0").communicate(timeout=50)
    assert "taken from the volume" in taken


def test_worker_killed_while_it_publishes_leaves_nothing_half_and_the_next_one_publishes(
    tmp_path: Path, volume: Path, links: Path
) -> None:
    make_wheel(
        links, "large", files={f"large_{n}.py": "#" * 2_000_000 for n in range(10)} | {"large.py": "version = 1"}
    )
    victim = start(tmp_path / "victim", volume, "large")
    stored = volume / ".flashtrial" / "layers"
    try:
        wait_until(lambda: list(stored.glob(".*.*/content.tar")) or layers_on(volume), 30, "the tar to be written")
    finally:
        victim.kill()
        victim.communicate()
    assert layers_on(volume) == []
    for lease in stored.glob(".*.lease.*"):  # as it is when it has expired
        os.utime(lease, (0, 0))
        lease.write_text("")
        os.utime(lease, (0, 0))
    said, _ = start(tmp_path / "next", volume, "large").communicate(timeout=50)
    assert "ended" in said
    assert len(layers_on(volume)) == 1
    assert list(stored.glob(".*")) == []
