"""Jobs of torch as people run them: ranks of torchrun, and DataLoader's workers. One run each, and no hang."""

import json
import subprocess
from pathlib import Path

import pytest

from testkit.tracking_server import TrackingClient

from .conftest import Lab, kill

pytest.importorskip("torch")
pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.distributed, pytest.mark.timeout(180)]

TIMEOUT_S = 150

TORCHRUN = """
import os, sys
launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
os.execv(sys.executable, [sys.executable, *launcher, {script!r}])
"""

RANK = """
import json, os, sys
import torch, torch.distributed as dist
import flashtrial

dist.init_process_group("gloo")
rank = dist.get_rank()
run = flashtrial.init(project="ranks", config={"lr": 0.1})
net = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 1))
run.watch(net, log="all", log_freq=1, log_graph=True)
for step in range(3):
    net(torch.ones(2, 3)).sum().backward()
    run.log({f"loss/{rank}": float(step)}, step=step)
report = run.finish()
dist.barrier()
dist.destroy_process_group()
with open(os.path.join(sys.argv[0] + f".{rank}.json"), "w") as file:
    json.dump([run.id, run.is_owner, report.pending >= 0], file)
"""

# Logs from both ranks, with a collective in each step; `FALL` says what rank 1 does at step 3.
FALLING = """
import os, time
import torch, torch.distributed as dist
import flashtrial

dist.init_process_group("gloo")
rank = dist.get_rank()
with flashtrial.init(project=os.environ.get("PROJECT", "falling")) as run:
    for step in range(6):
        dist.all_reduce(torch.ones(1))
        run.log({f"x/{rank}": float(step)}, step=step)
        if rank == 1 and step == 3:
            exec(os.environ.get("FALL", ""))
dist.barrier()
dist.destroy_process_group()
"""

# Without collectives: gloo may meet the sockets of the life before.
AGAIN = """
import os, signal, sys, time
import flashtrial

rank, life = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
logged = sys.argv[0] + ".logged"
with flashtrial.init(project="again") as run:
    for step in range(3):
        run.log({f"x/{rank}": float(10 * life + step)}, step=step)
    if life == 0 and rank == 0:
        open(logged, "w").close()
        signal.pause()
    if life == 0:
        while not os.path.exists(logged): time.sleep(0.01)
        os._exit(1)
"""

LOADER = """
import torch
import flashtrial

run = flashtrial.init(project="loaders")

class Numbers(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, index):
        flashtrial.log({"loaded": float(index)})
        return index

if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        loader = torch.utils.data.DataLoader(Numbers(), batch_size=2, num_workers=2, multiprocessing_context=method)
        for step, batch in enumerate(loader):
            run.log({method: batch.sum()}, step=step)
    print(run.finish().run_id)
"""


def run_script(lab: Lab, path: Path, source: str, launch: str) -> str:
    path.write_text(source, encoding="utf-8")
    with lab.start(launch.format(script=str(path))) as process:
        try:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        finally:
            if process.poll() is None:
                kill(process)
    assert process.returncode == 0, errors
    return output


def test_two_ranks_of_torchrun_have_one_run_and_its_end_is_rank_zeros(
    lab: Lab, server: TrackingClient, tmp_path: Path
) -> None:
    script = tmp_path / "ranks.py"
    run_script(lab, script, RANK, TORCHRUN)
    ranks = [json.loads(Path(f"{script}.{rank}.json").read_bytes()) for rank in (0, 1)]
    assert ranks[0][0] == ranks[1][0]
    assert [is_owner for _, is_owner, _ in ranks] == [True, False]
    lab.wait_until_synced()
    [run] = server.get("/api/v1/runs").json()["runs"]
    assert (run["id"], run["project"], run["status"], run["config"]) == (ranks[0][0], "ranks", "finished", {"lr": 0.1})
    assert run["points"] == {"loss/0": 3, "loss/1": 3}


def test_workers_of_data_loaders_log_to_the_run_of_their_trainer(
    lab: Lab, server: TrackingClient, tmp_path: Path
) -> None:
    launch = "import os, sys; os.execv(sys.executable, [sys.executable, {script!r}])"
    run_id = run_script(lab, tmp_path / "loaders.py", LOADER, launch).strip()
    lab.wait_until_synced()
    [run] = server.get("/api/v1/runs").json()["runs"]
    assert (run["id"], run["status"]) == (run_id, "finished")
    assert run["points"] == {"loaded": 24, "fork": 4, "spawn": 4, "forkserver": 4}


def torchrun(*options: str) -> str:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--monitor-interval=0.1", *options]
    return f"import os, sys; os.execv(sys.executable, [sys.executable, *{launcher}, sys.argv[0]])"


def start(lab: Lab, path: Path, source: str, launch: str, **given: str) -> subprocess.Popen[str]:
    path.write_text(source, encoding="utf-8")
    return lab.start(launch.replace("sys.argv[0]", repr(str(path))), OMP_NUM_THREADS="1", **given)


@pytest.mark.parametrize(
    ("fall", "reason"),
    [("raise ValueError('bad data')", "ValueError: bad data"), ("os.kill(os.getpid(), 9)", "RuntimeError: ")],
    ids=["raised", "killed"],
)
def test_a_rank_that_falls_in_a_collective_ends_the_run_as_it_ended(
    lab: Lab, server: TrackingClient, tmp_path: Path, fall: str, reason: str
) -> None:
    """What becomes of rank 0, whose peer is gone and whom torchrun terminates, is not why."""
    with start(lab, tmp_path / "falling.py", FALLING, torchrun(), FALL=fall) as process:
        process.communicate(timeout=TIMEOUT_S)
    assert process.returncode
    lab.wait_until_synced()
    [run] = server.get("/api/v1/runs").json()["runs"]
    assert run["points"] == {"x/0": 4, "x/1": 4}
    found = server.get(f"/api/v1/runs/{run['id']}").json()
    assert found["status"] == "failed"
    assert found["reason"].startswith(reason), found["reason"]


def test_ranks_that_torchrun_starts_again_go_on_with_their_run_in_a_new_attempt(
    lab: Lab, server: TrackingClient, tmp_path: Path
) -> None:
    with start(lab, tmp_path / "again.py", AGAIN, torchrun("--max-restarts=1")) as process:
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    lab.wait_until_synced()
    [run] = server.get("/api/v1/runs").json()["runs"]
    assert run["status"] == "finished"
    for rank in (0, 1):
        answer = server.get(f"/api/v1/runs/{run['id']}/metrics?name=x/{rank}&attempts=all").json()
        attempts = [[value for _, _, value in attempt["points"]] for attempt in answer["attempts"]]
        assert attempts == [[0.0, 1.0, 2.0], [10.0, 11.0, 12.0]]


def test_two_jobs_side_by_side_on_one_machine_are_two_runs(lab: Lab, server: TrackingClient, tmp_path: Path) -> None:
    """Of the same program, as a sweep has them."""
    jobs = [start(lab, tmp_path / "job.py", FALLING, torchrun(), PROJECT=project) for project in ("a", "b")]
    for job in jobs:
        with job:
            _, errors = job.communicate(timeout=TIMEOUT_S)
        assert job.returncode == 0, errors
    lab.wait_until_synced()
    runs = server.get("/api/v1/runs").json()["runs"]
    assert sorted(run["project"] for run in runs) == ["a", "b"]
    assert [(run["status"], run["points"]) for run in runs] == [("finished", {"x/0": 6, "x/1": 6})] * 2
