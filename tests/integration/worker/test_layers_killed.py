"""A seeded sample of the soak: builders and publishers killed at random moments leave nothing half-built."""

import re
import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[3] / "bench" / "soak_layers.py"
KILLS = 15


def test_builders_and_publishers_killed_anywhere_leave_whole_layers_or_none() -> None:
    command = [sys.executable, str(SOAK), "--kills", str(KILLS), "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"^kills +{KILLS} ", done.stdout, re.MULTILINE)
    assert re.search(r"^half-built +0$", done.stdout, re.MULTILINE)
    assert re.search(r"^next call failed +0$", done.stdout, re.MULTILINE)
