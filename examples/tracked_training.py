"""Track a training of your own: metrics, a picture, a table, a checkpoint, and going on after a death.

    flashtrial run examples/tracked_training.py            # or: python examples/tracked_training.py
    flashtrial run examples/tracked_training.py --resume   # goes on from the checkpoint, in the same run

Needs nothing but flashtrial. Without a server the records wait on the disk; `flashtrial sync` sends them later.
"""

import argparse
import json
import math
import random
from pathlib import Path

import flashtrial

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--rate", type=float, default=0.2)
parser.add_argument("--folder", type=Path, default=Path("tracked-training"))
parser.add_argument("--resume", action="store_true")
args = parser.parse_args()

args.folder.mkdir(parents=True, exist_ok=True)
checkpoint = args.folder / "checkpoint.json"
loaded = json.loads(checkpoint.read_text()) if args.resume else {}
weight, first_step = loaded.get("weight", 5.0), loaded.get("step", -1) + 1

# Of a run that goes on only what is given here is changed; its steps begin where the checkpoint stands.
with flashtrial.init(
    project="tracked-training",
    config={"rate": args.rate, "steps": args.steps},
    tags=["example"],
    run_id=loaded.get("run_id"),
) as run:
    gradients = []
    for step in range(first_step, first_step + args.steps):
        gradient = 2 * (weight - 1) + random.gauss(0, 0.1)
        weight -= args.rate * gradient / math.sqrt(step + 1)
        gradients.append(gradient)
        run.log({"loss": (weight - 1) ** 2, "weights": {"only": weight}}, step=step)
        if step % 20 == 19:
            checkpoint.write_text(json.dumps({"run_id": run.id, "step": step, "weight": weight}))
            run.log({"checkpoint": flashtrial.Artifact(checkpoint, metadata={"step": step})}, step=step)

    run.log({"gradients": flashtrial.Histogram(gradients, bins=20)}, step=step)
    run.log({"last": flashtrial.Table([[step, weight]], columns=["step", "weight"])}, step=step)
    run.log({"notes": flashtrial.Text(f"The weight came to {weight:.4f}; 1 is right.")}, step=step)
    if abs(weight - 1) > 0.5:
        run.alert("far off", f"the weight is {weight:.2f}", level="WARN")
    report = run.finish()

print(report)
