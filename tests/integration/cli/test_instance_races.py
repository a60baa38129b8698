"""Commands that meet an instance on its way up or down."""

import subprocess
from pathlib import Path

import psutil
import pytest

from flashtrial.cli import instance
from testkit import free_port, wait_until

from .conftest import Flashtrial


@pytest.fixture
def port() -> int:
    return free_port()


def test_down_ends_an_instance_that_has_only_begun(flashtrial_cli: Flashtrial, port: int) -> None:
    argv = flashtrial_cli.argv("up", "--port", str(port))
    with subprocess.Popen(argv, env=flashtrial_cli.environment(), stderr=subprocess.DEVNULL) as begun:
        wait_until(lambda: instance.is_claimed(flashtrial_cli.home), 40, "the claim")
        assert not (flashtrial_cli.home / instance.FILE).exists()
        assert f"stopped the instance at http://127.0.0.1:{port}" in flashtrial_cli("down").stdout
        assert begun.wait(timeout=20) == 0


WHEN_IT_IS_GONE = """
import os, sys, urllib.request
while os.path.exists(f"/proc/{sys.argv[1]}"):
    os.sched_yield()
print(urllib.request.urlopen(os.environ["FLASHTRIAL_URL"] + "/healthz").status)
"""


@pytest.mark.timeout(120)
def test_run_does_not_rely_on_one_that_is_leaving(flashtrial_cli: Flashtrial, port: int, tmp_path: Path) -> None:
    assert flashtrial_cli("up", "--detach", "--port", str(port)).returncode == 0
    flashtrial_cli.occupy("def f():\n    import time\n    time.sleep(600)\n")  # which holds its end up
    leaving = psutil.Process(flashtrial_cli.instance()["pid"])
    script = tmp_path / "script.py"
    script.write_text(WHEN_IT_IS_GONE)
    leaving.terminate()
    wait_until(lambda: flashtrial_cli.instance().get("is_leaving"), what="it to say that it leaves")
    ran = flashtrial_cli("run", str(script), str(leaving.pid))
    assert ran.returncode == 0, ran.stderr
    assert "\n200\n" in ran.stdout
    assert flashtrial_cli.instance()["pid"] != leaving.pid
