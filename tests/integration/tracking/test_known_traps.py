"""Traps that clients of this kind are known to fall into, where no other test stands for them already.

`docs/reliability.md` has the whole list, each trap with its tests.
"""

import sys
from pathlib import Path

import pytest

from testkit.tracking_server import TrackingClient

from .conftest import Lab, StandIn

pytestmark = pytest.mark.integration

ON_THE_NET = """
import sys
seen = []
sys.addaudithook(lambda event, args: event.startswith("socket.") and seen.append((event, args)))
"""


def test_neither_a_new_name_nor_anything_else_of_a_run_goes_to_the_network_in_the_trainer(lab: Lab) -> None:
    script = f"""{ON_THE_NET}
import flashtrial
run = flashtrial.init(config={{"a": 1}}, tags="t")
for number in range(100): run.log({{f"name/{{number}}": 1.0, "text": "words"}})
run.add_tags("u")
run.alert("look")
run.log({{"picture": flashtrial.Text("words")}})
run.finish(timeout_s=0.2)
print(seen)
"""
    with StandIn() as stand_in:
        lab.url = stand_in.url
        ended = lab.run(script)
    assert (ended.status, ended.output) == (0, "[]\n"), ended


def test_a_call_costs_the_same_after_ten_thousand_names_as_after_a_thousand(lab: Lab) -> None:
    """In calls of Python and C functions, and in bytes, which no other load of this machine changes."""
    script = """
import sys, flashtrial
run = flashtrial.init()
def cost(number):
    events = []
    values = {f"name/{number:05}": 1.0}
    size = run._writer._journal.path.stat().st_size
    sys.setprofile(lambda frame, event, arg: events.append(event))
    run.log(values)
    sys.setprofile(None)
    return len(events), run._writer._journal.path.stat().st_size - size
costs = [cost(number) for number in range(10_000)]
run.finish()
print(*costs[1_000], *costs[9_990])
"""
    ended = lab.run(script, FLASHTRIAL_WORKER_ID="worker_1")
    calls_before, bytes_before, calls_after, bytes_after = map(int, ended.output.split())
    assert (calls_after, bytes_after) == (calls_before, bytes_before), ended


def test_names_that_differ_in_one_accent_and_steps_below_zero_take_nothing_along(
    lab: Lab, server: TrackingClient
) -> None:
    names = ["loss_é", "loss_è", "loss_e", "loss_?", "损失", "損失", "🙂", "<b>x</b>", "../up", "a//b", " "]
    script = f"""
import flashtrial
with flashtrial.init(run_id="run_1", resume=False) as run:
    for step in (-1, 0, 1): run.log({{name: float(number) for number, name in enumerate({names!r})}}, step=step)
"""
    assert lab.run(script, PYTHONUTF8="1").status == 0
    lab.wait_until_synced()
    run = server.get("/api/v1/runs/run_1").json()
    assert run["points"] == dict.fromkeys(names, 3)
    assert run["summary"] == {name: float(number) for number, name in enumerate(names)}


def test_the_next_trainer_of_a_home_sends_what_a_killed_one_left(lab: Lab, tmp_path: Path) -> None:
    """Trainer and sync process are killed while nobody answers; nothing is started by hand afterwards."""
    died = "import flashtrial, os, signal\nflashtrial.init(run_id='dead').log({'x': 1.0})\nos.kill(os.getpid(), 9)"
    with StandIn() as stand_in:
        stand_in.faults = [(503, {}, b"")] * 1000
        lab.url = stand_in.url
        assert lab.run(died).status == -9
        lab.end_sync()
        assert [run for run, _, _ in stand_in.backend.stored] == []
        stand_in.faults = []
        assert lab.run("import flashtrial\nwith flashtrial.init(run_id='next'): pass").status == 0
        lab.wait_until_synced()
        assert sorted({run for run, _, _ in stand_in.backend.stored}) == ["dead", "next"]


def test_the_recovery_command_sends_to_the_server_that_the_run_was_made_for(lab: Lab) -> None:
    """Which only the program named, in its settings."""
    with StandIn() as stand_in, StandIn() as other:
        stand_in.faults = [(503, {}, b"")] * 1000
        script = (
            f"import flashtrial\nflashtrial.init(run_id='r', settings={{'url': {stand_in.url!r}}}).finish(timeout_s=0)"
        )
        assert lab.run(script).status == 0
        lab.end_sync()
        stand_in.faults = []
        lab.url = other.url
        ended = lab.run(
            f"import os; os.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'flashtrial.cli', 'sync'])"
        )
        assert ended.status == 0, ended
        lab.wait_until_synced()
        assert {run for run, _, _ in stand_in.backend.stored} == {"r"}
        assert not other.backend.stored


def test_the_recovery_command_gives_its_token_to_the_sync_process_that_runs(lab: Lab) -> None:
    """Which was started without one, and whose refusals say that a token is to be set."""
    with StandIn() as stand_in:
        stand_in.token = "right"
        lab.url = stand_in.url
        ended = lab.run("import flashtrial\nprint(flashtrial.init(run_id='r').finish(timeout_s=5))")
        assert "set FLASHTRIAL_TOKEN" in ended.output, ended
        assert lab.sync_processes()
        command = [sys.executable, "-m", "flashtrial.cli", "sync"]
        script = f"import os; os.execv({sys.executable!r}, {command!r})"
        ended = lab.run(script, FLASHTRIAL_TOKEN="right")
        assert ended.status == 0, ended
        assert {run for run, _, _ in stand_in.backend.stored} == {"r"}
