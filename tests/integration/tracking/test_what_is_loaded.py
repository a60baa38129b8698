"""What importing flashtrial loads, and that a run's end loads nothing: an upgrade may have replaced it meanwhile."""

import pytest

from .conftest import Lab

pytestmark = pytest.mark.integration


def test_importing_flashtrial_loads_nothing_else(lab: Lab) -> None:
    script = """
import sys
before = set(sys.modules)
import flashtrial
print(*sorted(set(sys.modules) - before))
"""
    assert lab.run(script).output == "flashtrial\n"


@pytest.mark.parametrize("process", [True, False], ids=["process", "thread"])
def test_the_end_of_a_run_loads_nothing(lab: Lab, process: bool) -> None:
    script = f"""
import sys, flashtrial
try:
    with flashtrial.init(settings={{"sync_process_enabled": {process}, "console": True}}) as run:
        run.log({{"x": 1.0, "file": flashtrial.Text("words")}})
        before = set(sys.modules)
        raise ValueError("the training's own")
except ValueError:
    print(sorted(set(sys.modules) - before))
"""
    ended = lab.run(script, FLASHTRIAL_FINISH_TIMEOUT_S="0.1")
    assert ended.output == "[]\n", ended
