"""flashtrial's own client, with two records that Pluto's protocol refuses and the others take; tells the run's id."""

import json

import flashtrial

run = flashtrial.init(project="refused", name="partly", tags=["group:a"])
for step in [*range(60), -5, *range(60, 120)]:
    run.log({"loss": step + 0.5}, step=step)
run.add_tags("group:b")
run.add_tags("later")
run.log({"late": 1.0}, step=200)
run.finish()
print(json.dumps({"id": run.id}))
