"""Jobs of torch as people run them: ranks of torchrun, and DataLoader's workers. One run each, and no hang."""

import json
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
    for method in ("fork", "spawn"):
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
    assert run["points"] == {"loaded": 16, "fork": 4, "spawn": 4}
