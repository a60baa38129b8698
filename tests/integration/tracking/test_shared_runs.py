"""Runs that outlive one process: ranks that end at their own time, restarts from a checkpoint, forks of a curve."""

import re
from pathlib import Path

import pytest

from testkit import wait_until
from testkit.tracking_server import TrackingClient

from .conftest import TIMEOUT_S, Lab

pytestmark = pytest.mark.integration


def test_the_first_rank_to_finish_does_not_end_the_sending_of_the_others(
    lab: Lab, server: TrackingClient, tmp_path: Path
) -> None:
    """Rank 1 goes on after rank 0 has finished, and dies without a word: what it logged arrives all the same."""
    late = """
import flashtrial, os, pathlib, sys, time
run = flashtrial.init()
while not pathlib.Path(sys.argv[0]).with_name("rank-0-is-done").exists(): time.sleep(0.01)
for number in range(5):
    run.log({"late": float(number)})
os._exit(0)
"""
    script = tmp_path / "late.py"
    script.write_text(late, encoding="utf-8")
    ranks = {"FLASHTRIAL_RUN_ID": "run_1", "WORLD_SIZE": "2"}
    launch = f"import os, sys; os.execv(sys.executable, [sys.executable, {str(script)!r}])"
    with lab.start(launch, RANK="1", **ranks) as process:
        ended = lab.run("import flashtrial\nwith flashtrial.init() as run: run.log({'x': 1.0})", RANK="0", **ranks)
        (tmp_path / "rank-0-is-done").touch()
        process.communicate(timeout=TIMEOUT_S)
    assert ended.status == 0, ended
    lab.wait_until_synced()
    run = server.get("/api/v1/runs/run_1").json()
    assert run["points"] == {"x": 1, "late": 5}
    assert run["status"] == "finished"


def test_a_rank_does_not_wait_in_finish_where_the_others_would_wait_for_it(lab: Lab) -> None:
    script = "import flashtrial\nrun = flashtrial.init()\nrun.log({'x': 1.0})\nprint(run.finish())"
    ended = lab.run(script, FLASHTRIAL_URL="http://127.0.0.1:9", RANK="0", WORLD_SIZE="2")
    assert "wait on this disk" in ended.output
    assert "WARNING" not in ended.errors, "nobody waited, so nothing went wrong yet"


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(lab: Lab, server: TrackingClient) -> None:
    first = """
import flashtrial, os, signal
run = flashtrial.init(run_id="run_1", project="p", resume=False)
for step in range(6): run.log({"loss": float(step)}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""
    second = """
import flashtrial
with flashtrial.init(run_id="run_1") as run:
    for step in range(3, 9): run.log({"loss": float(10 + step)}, step=step)
"""
    lab.run(first)
    assert lab.run(second).status == 0
    lab.wait_until_synced()
    run = server.get("/api/v1/runs/run_1").json()
    assert (run["status"], run["project"], run["summary"]) == ("finished", "p", {"loss": 18.0})
    points = server.get("/api/v1/runs/run_1/metrics?name=loss").json()["points"]
    assert [point[0] for point in points][-1] == 8


def test_a_configuration_of_200_kilobytes_arrives_whole(lab: Lab, server: TrackingClient) -> None:
    script = """
import flashtrial
with flashtrial.init(config={"words": ["x" * 1000] * 200, "é": {"deep": 1}}) as run: pass
print(run.id)
"""
    run_id = lab.run(script).output.strip()
    lab.wait_until_synced()
    config = server.get(f"/api/v1/runs/{run_id}").json()["config"]
    assert config == {"words": ["x" * 1000] * 200, "é": {"deep": 1}}


def test_what_finish_says_is_what_the_server_has(lab: Lab, server: TrackingClient) -> None:
    script = """
import flashtrial
run = flashtrial.init()
for number in range(50): run.log({"x": float(number)})
print(run.finish())
"""
    said = lab.run(script).output
    found = re.search(r"run (\S+) finished: 52 of 52 records sent; ", said)
    assert found, said
    assert server.get(f"/api/v1/runs/{found[1]}").json()["points"] == {"x": 50}


def test_two_hosts_processes_attach_to_one_run_by_its_id(lab: Lab, server: TrackingClient) -> None:
    lab.run("import flashtrial\nflashtrial.init(run_id='r', resume=False, project='p', name='n', tags='a').finish()")
    lab.run("import flashtrial\nwith flashtrial.init(run_id='r') as run: run.add_tags('eval'); run.log({'acc': 1.0})")
    lab.wait_until_synced()
    wait_until(lambda: server.get("/api/v1/runs/r").json()["status"] == "finished", TIMEOUT_S, "the run's end")
    run = server.get("/api/v1/runs/r").json()
    assert (run["name"], run["project"], sorted(run["tags"])) == ("n", "p", ["a", "eval"])


def test_attempts_of_a_killed_run_are_kept_apart_with_their_own_points(lab: Lab, server: TrackingClient) -> None:
    """Killed at step 5, started again from the checkpoint of step 3: one curve, and both attempts whole."""
    first = """
import flashtrial, os, signal
run = flashtrial.init(run_id="run_1", resume=False)
for step in range(6): run.log({"loss": 0.0}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""
    second = """
import flashtrial
with flashtrial.init(run_id="run_1", resume=True) as run:
    for step in range(3, 8): run.log({"loss": 1.0}, step=step)
"""
    lab.run(first)
    assert lab.run(second).status == 0
    lab.wait_until_synced()
    answer = server.get("/api/v1/runs/run_1/metrics?name=loss&attempts=all").json()
    found = [[[step, value] for step, _, value in attempt["points"]] for attempt in answer["attempts"]]
    assert found == [[[step, 0.0] for step in range(6)], [[step, 1.0] for step in range(3, 8)]]
    seen = [[step, value] for step, _, value in server.points("run_1", "loss")]
    assert seen == [[0, 0.0], [1, 0.0], [2, 0.0], *([step, 1.0] for step in range(3, 8))]


@pytest.mark.parametrize(
    ("said", "config", "tags"),
    [
        ("", {"lr": 1, "opt": {"a": 1, "b": 2}}, []),
        ("inherit_config=False, config={'lr': 3}", {"lr": 3}, []),
        ("config={'opt': {'b': 3}}", {"lr": 1, "opt": {"a": 1, "b": 3}}, []),
        ("inherit_tags=True", {"lr": 1, "opt": {"a": 1, "b": 2}}, ["base"]),
        ("inherit_tags=True, tags=['own']", {"lr": 1, "opt": {"a": 1, "b": 2}}, ["base", "own"]),
    ],
)
def test_a_fork_takes_along_what_it_says_and_goes_on_after_its_step(
    lab: Lab, server: TrackingClient, said: str, config: object, tags: list[str]
) -> None:
    script = f"""
import flashtrial
with flashtrial.init(run_id="parent", resume=False, config={{"lr": 1, "opt": {{"a": 1, "b": 2}}}}, tags="base") as run:
    for _ in range(5): run.log({{"loss": 0.0}})
with flashtrial.init(run_id="child", resume=False, fork_run_id="parent", fork_step=2, {said}) as run:
    run.log({{"loss": 1.0}})
"""
    assert lab.run(script).status == 0
    lab.wait_until_synced()
    run = server.get("/api/v1/runs/child").json()
    assert (run["config"], sorted(run["tags"])) == (config, tags)
    points = [[step, value] for step, _, value in server.points("child", "loss")]
    assert points == [[0, 0.0], [1, 0.0], [2, 0.0], [3, 1.0]]
    assert len(server.points("parent", "loss")) == 5
