"""What an interpreter has installed, read from directories."""

import importlib.metadata
import os
from pathlib import Path

from flashtrial.worker.install.base_packages import BasePackages, fingerprint


def install(site: Path, folder: str, metadata: str = "") -> None:
    (site / folder).mkdir(parents=True)
    (site / folder / ("PKG-INFO" if folder.endswith("egg-info") else "METADATA")).write_text(metadata)


def test_names_and_versions_come_from_the_metadata_directories(tmp_path: Path) -> None:
    install(tmp_path, "Scikit_Learn-1.5.0.dist-info")
    install(tmp_path, "torch-2.6.0+cu124.dist-info", "Requires-Dist: numpy; extra == 'x'\nRequires-Dist: sympy\n")
    install(tmp_path, "old.egg-info", "Metadata-Version: 1.0\nName: Old.One\nVersion: 0.3\n")
    packages = BasePackages([str(tmp_path), "/does/not/exist"]).current()
    assert {name: package.version for name, package in packages.items()} == {
        "scikit-learn": "1.5.0",
        "torch": "2.6.0+cu124",
        "old-one": "0.3",
    }
    assert packages["torch"].requires == ("numpy; extra == 'x'", "sympy")
    assert packages["scikit-learn"].requires == ()


def test_first_directory_wins(tmp_path: Path) -> None:
    install(tmp_path / "a", "six-1.0.dist-info")
    install(tmp_path / "b", "six-2.0.dist-info")
    assert BasePackages([str(tmp_path / "a"), str(tmp_path / "b")]).current()["six"].version == "1.0"


def test_change_of_a_directory_is_seen_and_nothing_is_read_again_without_one(tmp_path: Path) -> None:
    install(tmp_path, "six-1.0.dist-info")
    os.utime(tmp_path, ns=(1, 1))
    base = BasePackages([str(tmp_path)])
    first = base.current()
    assert base.current() is first
    install(tmp_path, "tomli-2.0.dist-info")
    assert set(base.current()) == {"six", "tomli"}


def test_this_interpreters_packages_are_those_that_the_standard_library_finds() -> None:
    packages = BasePackages().current()
    for name in ("numpy", "packaging", "pytest-asyncio", "flashtrial"):
        assert packages[name].version == importlib.metadata.version(name)


def test_fingerprint_tells_versions_apart_and_not_orders(tmp_path: Path) -> None:
    install(tmp_path / "a", "six-1.0.dist-info")
    install(tmp_path / "a", "tomli-1.0.dist-info")
    install(tmp_path / "b", "six-1.1.dist-info")
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    first = BasePackages(paths[:1]).current()
    assert fingerprint(first) == fingerprint(dict(reversed(list(first.items()))))
    assert fingerprint(first) != fingerprint(BasePackages(paths[::-1]).current())
