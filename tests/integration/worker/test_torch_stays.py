"""A torch that no index has stays where it is, seen by the real uv in an interpreter of its own."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import uv

from flashtrial.core import env
from flashtrial.process.subprocess_utils import CommandFailed, run_logged_subprocess
from flashtrial.worker.install.base_packages import BasePackages
from flashtrial.worker.install.install_plan import InstallPlan, plan_install
from flashtrial.worker.install.requirements import parse
from flashtrial.worker.install.uv_commands import Uv

pytestmark = [pytest.mark.integration, pytest.mark.network]


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An interpreter with a torch 2.6.0+here that is installed as far as metadata go."""
    subprocess.run([uv.find_uv_bin(), "venv", "-q", "--python", sys.executable, str(tmp_path / "v")], check=True)
    metadata = site(tmp_path / "v") / "torch-2.6.0+here.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.6.0+here\n")
    (metadata / "RECORD").write_text("")
    return tmp_path / "v"


def site(venv: Path) -> Path:
    return next(venv.glob("lib/python*/site-packages"))


def planned(venv: Path, *dependencies: str) -> InstallPlan:
    plan = plan_install(parse(dependencies), BasePackages([str(site(venv))]).current())
    assert plan is not None
    return plan


async def resolve(venv: Path, plan: InstallPlan, pins: Sequence[str]) -> list[str]:
    """Names of what would be installed over the venv."""
    (venv / "requirements.txt").write_text("\n".join(plan.requirements))
    (venv / "pins.txt").write_text("\n".join(pins))
    tool = Uv(str(venv / "bin" / "python"))
    command = tool.resolve_command(venv / "requirements.txt", venv / "pins.txt", venv / "report.json")
    done = await run_logged_subprocess(command, deadline_s=50, env=env.snapshot())
    return [line.partition("==")[0] for line in tool.resolved(done.stderr, venv / "report.json")]


async def test_package_that_needs_torch_is_installed_without_it(venv: Path) -> None:
    plan = planned(venv, "torchmetrics")
    assert plan.base_pins == plan.protected_pins == ("torch==2.6.0+here",)
    names = await resolve(venv, plan, plan.base_pins)
    assert "torchmetrics" in names
    assert "torch" not in names
    assert not [name for name in names if name.startswith("nvidia")]


async def test_package_that_needs_another_torch_is_a_conflict_that_names_it(venv: Path) -> None:
    plan = planned(venv, "torchvision==0.22.0")  # needs torch 2.7.0
    with pytest.raises(CommandFailed) as caught:
        await resolve(venv, plan, plan.protected_pins)
    assert Uv().is_conflict(caught.value.stderr)
    assert "torch==2.7.0" in caught.value.stderr


async def test_torch_that_is_asked_for_by_name_is_installed(venv: Path) -> None:
    plan = planned(venv, "torch==2.7.0")
    assert plan.protected_pins == ()
    assert "torch" in await resolve(venv, plan, plan.protected_pins)
