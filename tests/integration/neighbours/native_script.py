"""flashtrial's own client, for a run that goes to several destinations; tells the run's id in JSON."""

import json
import math

import flashtrial

run = flashtrial.init(project="several", name="one for all", config={"lr": 0.1}, tags=["t"])
for step, value in enumerate([1.0, 0.5, math.nan, math.inf]):
    run.log({"loss": value}, step=step)
run.log({"words": flashtrial.Text("words of a file")}, step=4)
run.finish()
print(json.dumps({"id": run.id}))
