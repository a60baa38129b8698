"""Run by the real pluto-ml's interpreter, with the folder of torch's packages as argument: ``watch``es a model."""

import importlib
import json
import sys
from typing import Any

import pluto

sys.path.append(sys.argv[1])

torch: Any = importlib.import_module("torch")


def main() -> None:
    run = pluto.init(project="watched", name="w", dir=".", settings={"disable_system_metrics": True})
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    run.watch(model, disable_graph=False, freq=1, bins=4)
    for step in range(4):
        loss = model(torch.ones(5, 2)).sum()
        loss.backward()
        run.log({"loss": float(loss.detach())}, step=step)
    run.finish()
    print(json.dumps({"layers": [type(layer).__name__ for layer in model]}))


main()
