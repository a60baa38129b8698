"""What is to be installed, decided before anything runs."""

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from flashtrial.worker.install.base_packages import InstalledPackage
from flashtrial.worker.install.install_plan import InstallPlan, plan_install
from flashtrial.worker.install.requirements import parse


def base(**versions: str) -> dict[str, InstalledPackage]:
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    return {name: InstalledPackage(name, version, Path("/nowhere")) for name, version in named.items()}


BASE = base(numpy="2.4.6", six="1.17.0", torch="2.6.0+cu124", nvidia_cublas_cu12="12.4", triton="3.2.0")


def plan(*dependencies: str, over: dict[str, InstalledPackage] = BASE) -> InstallPlan:
    found = plan_install(parse(dependencies), over)
    assert found is not None
    return found


def test_nothing_missing_needs_no_plan() -> None:
    assert plan_install(parse(("numpy>=2", "six")), BASE) is None
    assert plan_install((), BASE) is None


def test_base_is_kept_but_for_what_is_asked_for_differently() -> None:
    found = plan("numpy<2", "six", "tomli")
    assert found.requirements == ("numpy<2", "six", "tomli")
    assert found.missing == ("numpy<2", "tomli")
    assert found.base_pins == ("nvidia-cublas-cu12==12.4", "six==1.17.0", "torch==2.6.0+cu124", "triton==3.2.0")
    assert found.protected_pins == ("nvidia-cublas-cu12==12.4", "torch==2.6.0+cu124", "triton==3.2.0")


def test_another_torch_by_name_brings_its_own_cuda() -> None:
    found = plan("torch==2.7.0")
    assert found.protected_pins == ()
    assert "torch==2.6.0+cu124" not in found.base_pins


def test_another_relative_of_torch_by_name_leaves_torch_alone() -> None:
    assert "torch==2.6.0+cu124" in plan("torchvision==0.22.0").protected_pins
    assert plan("triton==3.3.0").protected_pins == ("nvidia-cublas-cu12==12.4", "torch==2.6.0+cu124")


@given(st.permutations(["numpy<2", "tomli>=1,<3", "six", "Iniconfig[x]"]))
def test_key_does_not_depend_on_order_or_spelling(dependencies: Sequence[str]) -> None:
    assert plan(*dependencies).key == plan("NumPy < 2", "tomli <3, >=1", "SIX", "iniconfig[X]", "six").key


def test_key_depends_on_requirements_and_base() -> None:
    keys = {
        plan("tomli").key,
        plan("tomli==2.0.1").key,
        plan("tomli", "iniconfig").key,
        plan("tomli", over=base(numpy="2.4.6")).key,
        plan("tomli", over=base(numpy="2.4.5")).key,
        plan("tomli", over={}).key,
    }
    assert len(keys) == 6


def test_planning_twice_gives_the_same_plan() -> None:
    assert plan("tomli", "numpy<2") == plan("tomli", "numpy<2")
