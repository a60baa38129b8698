"""A container's limits, as the files of both versions of control groups say them."""

from pathlib import Path

from flashtrial.tracking.capture.cgroups import Cgroups, MemoryUse

GIB = 1024**3


def group(root: Path, where: str, **files: str) -> None:
    path = root / where.lstrip("/")
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name.replace("__", ".")).write_text(content, encoding="ascii")


def membership(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "membership"
    path.write_text(text, encoding="ascii")
    return path


def test_without_limits_nothing_is_said(tmp_path: Path) -> None:
    cgroups = Cgroups(tmp_path, membership(tmp_path, "0::/\n"))
    group(tmp_path, "/", memory__max="max\n", memory__current="5\n", cpu__max="max 100000\n")
    assert (cgroups.memory(), cgroups.cpu_limit(), cgroups.cpu_seconds()) == (None, None, None)
    assert Cgroups(tmp_path / "no", tmp_path / "no").memory() is None


def test_version_2_is_read_and_the_tightest_of_the_groups_above_counts(tmp_path: Path) -> None:
    cgroups = Cgroups(tmp_path, membership(tmp_path, "0::/pod/trainer\n"))
    group(tmp_path, "/pod", memory__max=f"{8 * GIB}\n", memory__current=f"{3 * GIB}\n", cpu__max="250000 100000\n")
    group(
        tmp_path, "/pod", memory__stat=f"anon 1\ninactive_file {GIB}\n", cpu__stat="usage_usec 4500000\nuser_usec 1\n"
    )
    group(tmp_path, "/pod/trainer", memory__max=f"{16 * GIB}\n", memory__current="1\n", cpu__max="max 100000\n")
    assert cgroups.memory() == MemoryUse(2 * GIB, 8 * GIB)
    assert cgroups.cpu_limit() == 2.5
    assert cgroups.cpu_seconds() == 4.5


def test_version_1_is_read_and_its_number_for_no_limit_is_none(tmp_path: Path) -> None:
    cgroups = Cgroups(tmp_path, membership(tmp_path, "4:memory:/box\n2:cpu,cpuacct:/box\n"))
    group(tmp_path, "/memory/box", **{"memory.limit_in_bytes": f"{4 * GIB}\n", "memory.usage_in_bytes": f"{GIB}\n"})
    group(tmp_path, "/memory", **{"memory.limit_in_bytes": "9223372036854771712\n", "memory.usage_in_bytes": "1\n"})
    group(tmp_path, "/cpu,cpuacct/box", **{"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"})
    group(tmp_path, "/cpu,cpuacct/box", **{"cpuacct.usage": "1500000000\n"})
    group(tmp_path, "/cpu,cpuacct", **{"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"})
    assert cgroups.memory() == MemoryUse(GIB, 4 * GIB)
    assert (cgroups.cpu_limit(), cgroups.cpu_seconds()) == (0.5, 1.5)
