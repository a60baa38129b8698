"""Installations that go wrong: each is told in words that help, leaves nothing, and the next one works."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.process.environment import Environment
from flashtrial.worker.dependency_installer import DependencyInstaller
from flashtrial.worker.install.install_errors import InstallFailed
from flashtrial.worker.install.install_settings import InstallSettings
from testkit import wait_until_async
from testkit.package_index import PackageIndex
from testkit.wheels import make_source, make_wheel, offline


@pytest.fixture(autouse=True)
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages without a network, and a cache of uv's own for each test."""
    links = tmp_path / "links"
    for name, value in offline(links).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UV_CACHE_DIR")
    make_wheel(links, "tiny", "1.0")
    make_wheel(links, "tiny", "2.0")
    return links


@pytest.fixture
def index(links: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    """The same packages behind an index, which uv asks once a request."""
    for name in offline(links):
        monkeypatch.delenv(name)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with PackageIndex(links).serving() as index:
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        yield index


@pytest.fixture
def installer(flashtrial_home: Path) -> Iterator[DependencyInstaller]:
    installer = DependencyInstaller(flashtrial_home)
    yield installer
    installer.close()


def version_of(module: str, environment: Environment) -> str:
    source = f"import sys; sys.path[:0] = {list(environment.path_strings)!r}; import {module}; print({module}.version)"
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.strip()


def stored(home: Path) -> list[str]:
    """Layers, whole or not."""
    return [path.name for path in (home / "layers").iterdir() if path.is_dir()]


async def test_build_failure_tells_what_the_build_said(
    installer: DependencyInstaller, links: Path, flashtrial_home: Path
) -> None:
    make_source(links, "broken", before="raise RuntimeError('this code is from another age')")
    with pytest.raises(InstallFailed, match=r"(?s)could not install broken.*this code is from another age"):
        await installer.environment_for(["broken"])
    assert stored(flashtrial_home) == []


async def test_package_built_from_source_works(installer: DependencyInstaller, links: Path) -> None:
    make_source(links, "built", "3.0")
    assert version_of("built", await installer.environment_for(["built"])) == "3.0"


async def test_package_that_asks_for_another_version_of_the_base_gets_it_in_its_layer(
    installer: DependencyInstaller, links: Path
) -> None:
    make_wheel(links, "packaging", "1.0", files={"packaging/__init__.py": "version = 'of the layer'\n"})
    make_wheel(links, "old_fashioned", requires=["packaging<2"])
    environment = await installer.environment_for(["old-fashioned"])
    assert environment.packages == ("old_fashioned", "packaging")
    assert version_of("packaging", environment) == "of the layer"


async def test_conflict_with_what_is_protected_names_both(
    installer: DependencyInstaller, links: Path, tmp_path: Path
) -> None:
    make_wheel(links, "tiny", "3.0", requires=["tiny-helper==1.0"])
    make_wheel(links, "tiny_helper", "2.0")
    with pytest.raises(InstallFailed, match=r"(?s)could not install tiny==3.0.*tiny-helper"):
        await installer.environment_for(["tiny==3.0"])


async def test_two_conflicting_functions_at_once_get_a_layer_each(installer: DependencyInstaller) -> None:
    environments = await asyncio.gather(*(installer.environment_for([f"tiny=={major}.0"]) for major in (1, 2, 1, 2)))
    assert [version_of("tiny", environment) for environment in environments[:2]] == ["1.0", "2.0"]
    assert environments[:2] == environments[2:]


async def test_index_that_answers_500_is_named_and_works_again(
    installer: DependencyInstaller, index: PackageIndex, flashtrial_home: Path
) -> None:
    index.status = 500
    with pytest.raises(InstallFailed, match=r"(?s)could not install tiny==1.0.*500") as caught:
        await installer.environment_for(["tiny==1.0"])
    assert index.url in str(caught.value)
    assert stored(flashtrial_home) == []
    index.status = 200
    assert version_of("tiny", await installer.environment_for(["tiny==1.0"])) == "1.0"


async def test_index_that_never_answers_is_ended_by_the_deadline(index: PackageIndex, flashtrial_home: Path) -> None:
    index.let_go.clear()
    installer = DependencyInstaller(flashtrial_home, settings=InstallSettings(deadline_s=1))
    with pytest.raises(InstallFailed, match=r"could not install tiny==1.0: not done after 1 s"):
        await installer.environment_for(["tiny==1.0"])
    assert index.asked
    assert stored(flashtrial_home) == []


async def test_index_that_is_slow_is_waited_for(installer: DependencyInstaller, index: PackageIndex) -> None:
    index.let_go.clear()
    task = asyncio.create_task(installer.environment_for(["tiny==1.0"]))
    await wait_until_async(lambda: index.asked, 20, "uv to ask the index")
    assert not task.done()
    index.let_go.set()
    assert version_of("tiny", await task) == "1.0"


async def test_download_that_is_cut_short_is_a_failure_and_leaves_no_damage(
    installer: DependencyInstaller, index: PackageIndex, flashtrial_home: Path
) -> None:
    index.damaged = frozenset({"tiny-1.0-py3-none-any.whl"})
    with pytest.raises(InstallFailed, match=r"could not install tiny==1.0"):
        await installer.environment_for(["tiny==1.0"])
    assert stored(flashtrial_home) == []
    index.damaged = frozenset()
    assert version_of("tiny", await installer.environment_for(["tiny==1.0"])) == "1.0"


async def test_yanked_version_is_taken_when_it_is_named_and_not_else(
    installer: DependencyInstaller, index: PackageIndex
) -> None:
    index.yanked = frozenset({"tiny-2.0-py3-none-any.whl"})
    assert version_of("tiny", await installer.environment_for(["tiny"])) == "1.0"
    assert version_of("tiny", await installer.environment_for(["tiny==2.0"])) == "2.0"
    with pytest.raises(InstallFailed, match="yanked"):
        await installer.environment_for(["tiny>=2"])


async def test_wheel_that_lies_about_its_files_is_refused(
    installer: DependencyInstaller, links: Path, flashtrial_home: Path
) -> None:
    make_wheel(links, "liar", record={"liar.py": "A" * 43})
    with pytest.raises(InstallFailed, match="the index gives damaged packages: liar"):
        await installer.environment_for(["liar"])
    assert stored(flashtrial_home) == []


async def test_disk_that_is_full_is_an_install_failure_and_leaves_nothing(links: Path, flashtrial_home: Path) -> None:
    make_wheel(links, "large", files={"large.py": "version = '1'\n" + "#" * 4_000_000})
    source = f"""
import asyncio, pathlib, resource, signal, sys
from flashtrial.worker.dependency_installer import DependencyInstaller, InstallFailed
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
installer = DependencyInstaller(pathlib.Path({str(flashtrial_home)!r}))
try:
    asyncio.run(installer.environment_for(["large"]))
except InstallFailed as error:
    print("failed:", error)
print(asyncio.run(installer.environment_for(["tiny==1.0"])).packages)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert "failed: could not install large" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "('tiny',)"
    assert len(stored(flashtrial_home)) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user cannot mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_disk_without_space_is_named_as_the_reason(links: Path, small_disk: Path) -> None:
    make_wheel(links, "large", files={"large.py": "version = '1'\n" + "#" * 4_000_000})
    installer = DependencyInstaller(small_disk / "home")
    with pytest.raises(InstallFailed, match=r"(?s)could not install large.*No space left on device"):
        await installer.environment_for(["large"])
    assert stored(small_disk / "home") == []
    assert version_of("tiny", await installer.environment_for(["tiny==1.0"])) == "1.0"
    installer.close()


async def test_home_that_cannot_be_written_is_an_install_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    installer = DependencyInstaller(tmp_path / "file")
    with pytest.raises(InstallFailed, match=r"could not install tiny==1.0"):
        await installer.environment_for(["tiny==1.0"])


@pytest.mark.parametrize("what", ["archive", "pointer", "everything"])
async def test_damaged_cache_is_noticed_or_does_not_matter(
    flashtrial_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv("UV_LINK_MODE", "copy")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    first = DependencyInstaller(flashtrial_home)
    await first.environment_for(["tiny==1.0"])
    first.close()
    for path in list((tmp_path / "cache").rglob("*")):
        in_archive = "archive-v0" in path.parts
        if path.is_file() and not path.is_symlink() and (what == "everything" or in_archive == (what == "archive")):
            path.write_bytes(b"damage")
    second = DependencyInstaller(tmp_path / "another-home")
    assert version_of("tiny", await second.environment_for(["tiny==1.0"])) == "1.0"
    second.close()


@pytest.mark.parametrize(
    "given", ["-e .", "--index-url=https://x/", "tiny --pre", "-r /etc/passwd", "$(id)", "tiny;id"]
)
async def test_options_never_reach_the_installer(
    installer: DependencyInstaller, flashtrial_home: Path, given: str
) -> None:
    with pytest.raises(InstallFailed, match="refused"):
        await installer.environment_for([given])
    assert not flashtrial_home.exists()


async def test_layers_beyond_the_budget_go_and_with_them_their_share_of_the_cache(
    links: Path, flashtrial_home: Path
) -> None:
    for number in (1, 2, 3):
        make_wheel(links, f"big{number}", files={f"big{number}.py": f"version = '{number}'\n" + "#" * 100_000})
    settings = InstallSettings(layers_bytes=250_000)
    first = DependencyInstaller(flashtrial_home, settings=settings)
    keys = [(await first.environment_for([f"big{number}"])).key for number in (1, 2, 3)]
    first.release("no such key")
    await wait_until_async(lambda: set(keys) <= set(stored(flashtrial_home)), 10, "all three, as they are in use")
    first.close()

    second = DependencyInstaller(flashtrial_home, settings=settings)
    held = await second.environment_for(["big1"])  # the oldest, but in use again
    await second.environment_for(["tiny==1.0"])
    second.close()
    assert held.paths[0].is_dir()
    assert keys[1] not in stored(flashtrial_home)
    assert keys[2] in stored(flashtrial_home)
    cached = {path.name for path in (flashtrial_home / "cache" / "uv" / "archive-v0").glob("*/big*.py")}
    assert cached == {"big1.py", "big3.py"}
    assert version_of("big2", await DependencyInstaller(flashtrial_home).environment_for(["big2"])) == "2"
