"""Run by the real pluto-ml's interpreter: goes on with runs and forks one, and tells of it in JSON."""

import json
from typing import Any

import pluto
import pluto.query as pq

PROJECT = "again"


def named(**more: Any) -> Any:
    return pluto.init(project=PROJECT, dir=".", settings={"disable_system_metrics": True}, **more)


def main() -> None:
    first = named(name="named", run_id="my-own-id", config={"a": 1, "deep": {"x": 1}}, tags=["kept"])
    first.log({"loss": 1.0}, step=1)
    first.finish()
    try:
        named(name="named", run_id="my-own-id")
        collision = "none"
    except RuntimeError as error:
        collision = type(error).__name__
    second = named(name="other name", run_id="my-own-id", resume=True, config={"deep": {"y": 2}})
    second.log({"loss": 0.5}, step=2)
    second.finish()
    number = second.settings._op_id
    third = named(run_id=f"FT-{number}")
    third.log({"loss": 0.25}, step=3)
    third.finish()
    fork = named(name="fork", fork_run_id=number, fork_step=2, config={"a": 9}, inherit_tags=True)
    fork.log({"loss": 0.1}, step=3)
    fork.finish()
    seen, forked = pq.get_run(PROJECT, number), pq.get_run(PROJECT, fork.settings._op_id)
    print(
        json.dumps(
            {
                "same": first.settings._op_id == number == third.settings._op_id,
                "resumed": [first.resumed, second.resumed, third.resumed, fork.resumed],
                "collision": collision,
                "run": {name: seen[name] for name in ("name", "status", "config", "externalId")},
                "steps": [point["step"] for point in pq.get_metrics(PROJECT, number, ["loss"])],
                "fork": {name: forked[name] for name in ("config", "tags", "forkedFromRunId", "forkStep")},
                "fork_curve": [(p["step"], p["value"]) for p in pq.get_metrics(PROJECT, forked["id"], ["loss"])],
                "parent": number,
            }
        )
    )


main()
