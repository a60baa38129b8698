"""The real pluto-ml, whose server is killed under it and comes back: `argv[1]` points and as many texts of a series."""

import json
import sys

import pluto


def main(count: int) -> None:
    run = pluto.init(project="p", name="survivor", dir=".", settings={"disable_system_metrics": True})
    run.log({"loss": 0.25, "word": "w0"}, step=0)
    for step in range(1, count):
        run.log({"loss": step + 0.25, "word": f"w{step}"}, step=step)
    run.finish()
    print(json.dumps({"id": run.settings._op_id}))


main(int(sys.argv[1]))
