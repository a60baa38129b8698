"""The guide for hosting says what is: its unit file is accepted, and its options exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from flashtrial.cli.main import app
from flashtrial.cli.up_options import UpOptions

pytestmark = pytest.mark.unit

DOCS = Path(__file__).parents[3] / "docs"
UNIT = DOCS / "self-host" / "flashtrial.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / "flashtrial.service"
    copy.write_text(UNIT.read_text().replace("/opt/flashtrial/bin/flashtrial", sys.executable))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False, timeout=30
    )
    assert (checked.returncode, [line for line in checked.stderr.splitlines() if "flashtrial.service" in line]) == (
        0,
        [],
    )


def test_every_option_that_is_named_exists_and_is_named() -> None:
    command = typer.main.get_command(app)
    up = command.commands["up"]  # type: ignore[attr-defined]
    known = {name for parameter in up.params for name in (*parameter.opts, *parameter.secondary_opts)} - {"--runpod"}
    table = (DOCS / "how-to-self-host.md").read_text().split("## Options of `flashtrial up`")[1].split("\n## ")[0]
    assert set(re.findall(r"`(--[a-z-]+)", table)) == known - {"--help"}


def test_options_survive_the_way_to_a_process_of_its_own() -> None:
    options = UpOptions(
        port=1, dispatcher_port=0, allowed_hosts=("a", "b"), log_level="debug", access_log=True, runpod=False, grace_s=7
    )
    said = options.arguments()
    assert said.count("--allowed-host") == 2
    assert said[said.index("--dispatcher-port") + 1] == "0"
    assert {"--access-log", "--no-runpod"} <= set(said)
    assert "--tls-cert" not in said
