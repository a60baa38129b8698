"""Run by the real pluto-ml's interpreter: logs one of everything, reads it back, and tells of both in JSON."""

import hashlib
import json
import math
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pluto
import pluto.query as pq

PROJECT = "Neighbours first"
NUMBERS = [1.0, 0.1 + 0.2, -2.5e-300, 1.7976931348623157e308, math.nan, math.inf, -math.inf, 7]


def exact(value: float) -> str:
    return "NaN" if math.isnan(value) else struct.pack(">d", value).hex()


def log_all(run: Any) -> list[str]:
    """Everything once; the hashes of the files."""
    for step, value in enumerate(NUMBERS):
        run.log({"loss": value, "nested/acc": step, "phase": "warm" if step < 4 else "cold"}, step=step)
    Path("notes.bin").write_bytes(bytes(range(256)) * 10)
    run.log(
        {
            "image": pluto.Image(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), caption="a small one"),
            "sound": pluto.Audio(np.linspace(-1, 1, 50), rate=8000),
            "words": pluto.Text("words with ünicode"),
            "notes": pluto.Artifact("notes.bin"),
            "table": pluto.Table(data=[[1, "a"], [2, "b"]], headers=["n", "c"]),
            "histogram": pluto.Histogram([1, 2, 2, 3]),
            "graph": pluto.Graph(data={"nodes": {"a": {}}, "edges": {}}),
        },
        step=9,
    )
    return [
        hashlib.sha256(Path("notes.bin").read_bytes()).hexdigest(),
        hashlib.sha256("words with ünicode".encode()).hexdigest(),
    ]


def main() -> None:
    run = pluto.init(project=PROJECT, name="first", config={"lr": 0.1, "net": {"depth": 2}}, tags=["one"], dir=".")
    print("a line of output")
    print("a line of errors", file=sys.stderr)
    hashes = log_all(run)
    run.add_tags("two")
    run.update_config({"net": {"width": 3}})
    run.alert(title="Careful", message="it burns", level="WARN")
    run.finish()
    number = run.settings._op_id
    seen = pq.get_run(PROJECT, number)
    found = {
        "number": number,
        "display_id": seen["displayId"],
        "run": {name: seen[name] for name in ("name", "status", "tags", "config", "displayId", "projectName")},
        "names": sorted(entry["logName"] for entry in seen["logNames"]),
        "by_display_id": pq.get_run(PROJECT, seen["displayId"])["id"],
        "projects": [project["name"] for project in pq.list_projects()],
        "loss": [(p["step"], exact(p["value"])) for p in pq.get_metrics(PROJECT, number, ["loss"])],
        "window": [p["step"] for p in pq.get_metrics(PROJECT, number, ["loss"], step_min=2, step_max=3)],
        "metric_names": pq.get_metric_names(PROJECT, [number], search="nested"),
        "statistics": pq.get_statistics(PROJECT, number, ["nested/acc"])["statistics"][0]["max"],
        "best": pq.leaderboard(PROJECT, "nested/acc", direction="DESC")[0]["value"],
        "compared": pq.compare_runs(PROJECT, [number], "nested/acc")["bestRun"]["runId"],
        "listed": [r["id"] for r in pq.list_runs(PROJECT, tags=["one"], filters={"config.lr": {"$lt": 0.5}})],
        "not_listed": pq.list_runs(PROJECT, filters={"$or": [{"state": "failed"}, {"config.net.depth": 3}]}),
        "logs": [line["message"] for line in pq.get_logs(PROJECT, number)],
        "errors": [line["message"] for line in pq.get_logs(PROJECT, number, log_type="error")],
        "files": {
            f["logName"]: {k: f[k] for k in ("fileType", "step", "caption")} for f in pq.get_files(PROJECT, number)
        },
        "sent": [exact(float(value)) for value in NUMBERS],
        "sent_hashes": hashes,
        "got_hashes": [
            hashlib.sha256(pq.download_file(PROJECT, number, name, ".").read_bytes()).hexdigest()
            for name in ("notes", "words")
        ],
    }
    pq.upload_file(PROJECT, number, "late/notes", "notes.bin", step=3)
    found["late"] = [file["fileName"] for file in pq.get_files(PROJECT, number, file_name="late/notes")]
    print(json.dumps(found))


main()
