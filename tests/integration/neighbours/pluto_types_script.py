"""Run by the real pluto-ml's interpreter: every file and data type of its API; what was sent, and what came back.

``watch`` needs torch, which is not there: the graph goes out by the functions that ``watch`` calls.
"""

import base64
import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pluto
import pluto.query as pq
from pluto.api import make_compat_graph_nodes_v1, make_compat_graph_v1

PROJECT = "types"
MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00" + bytes(range(256)) * 40
GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
BOX = {"position": {"minX": 1, "maxX": 3, "minY": 0, "maxY": 2}, "class_id": 1, "scores": {"acc": 0.5}}
LABELS = {"0": "sky", "1": "dög"}


def types_of(base: type) -> list[str]:
    """The public names of `pluto` that are kinds of `base`."""
    return sorted(
        n for n in pluto.__all__ if inspect.isclass(getattr(pluto, n)) and issubclass(getattr(pluto, n), base)
    )


def log_files(run: Any) -> dict[str, Any]:
    """One or more of each; what was sent by log name: the objects, whose files are looked into afterwards."""
    Path("film.webm").write_bytes(MP4[::-1])
    Path("plain.dat").write_bytes(b"\x00plain\xff" * 9)
    Path("empty.txt").write_bytes(b"")
    Path("one.wav").write_bytes(b"RIFF" + bytes(60))
    sent = {
        "video/bytes": pluto.Video(MP4, caption="a film"),
        "video/file": pluto.Video("film.webm"),
        "video/gif": pluto.Video(GIF, format="gif", rate=2),
        "audio/array": pluto.Audio(np.linspace(-1, 1, 64), rate=8000, caption="ton: ü"),
        "audio/file": pluto.Audio("one.wav"),
        "audio/bytes": pluto.Audio(b"RIFF" + bytes(40)),
        "text/caption": pluto.Text("wörds\n\x00", caption="a/b ../c"),
        "text/empty": pluto.Text("empty.txt"),
        "file/plain": pluto.File("plain.dat", name="plain"),
        "artifact/bytes": pluto.Artifact(b"\x01\x02", caption="raw", metadata={"k": 1}),
        "artifact/file": pluto.Artifact("plain.dat"),
        "image/marked": pluto.Image(
            np.arange(48, dtype=np.uint8).reshape(4, 4, 3),
            caption="marked",
            boxes={"found": {"box_data": [BOX], "class_labels": LABELS}},
            masks={"seg": {"mask_data": np.eye(4, dtype=np.uint8), "class_labels": LABELS}},
            annotations={"boxes": {"truth": {"box_data": [{**BOX, "domain": "fraction"}]}}},
        ),
        "image/raw": pluto.Image(b"\x89PNG\r\n\x1a\n" + bytes(20), annotations='{"boxes": {}, "free": "text"}'),
    }
    several = [pluto.Image(np.full((2, 2, 3), value, np.uint8), caption=f"s{value}") for value in (1, 2, 3)]
    run.log({**sent, "image/several": several}, step=2)
    return {**{name: [each] for name, each in sent.items()}, "image/several": several}


def log_data(run: Any) -> dict[str, Any]:
    graph = pluto.Graph({"nodes": {"a": {"label": "A"}, "b": {}}, "edges": {}})
    sent = {
        "table/full": pluto.Table(data=[[1, "a"], [2, "ü"]], columns=["n", "c"], rows=["r1", "r2"]),
        "table/array": pluto.Table(np.array([[1.5, 2.5], [3.5, 1e300]])),
        "histogram/list": pluto.Histogram([1, 2, 2, 3], bins=3),
        "histogram/ready": pluto.Histogram([[1, 2], [0.0, 0.5, 1.0]], bins=None),
        "graph": graph,
    }
    run.log(sent, step=3)
    return {name: each.to_dict() for name, each in sent.items()}


def log_graph(run: Any) -> dict[str, Any]:
    """What ``watch`` posts after the second forward pass, by the functions that it calls."""
    model = {
        "id": 1,
        "type": "Sequential",
        "nodes": [
            {"name": "0", "order": 0, "id": 2, "type": "Linear", "args": [2, 3], "params": {"weight": [3, 2]}},
            {"name": "1", "order": 1, "id": 3, "type": "ReLU", "kwargs": {"inplace": True}},
        ],
    }
    nodes = make_compat_graph_nodes_v1(model, ref={})
    body = make_compat_graph_v1(run.settings, "torch", nodes)
    run._iface._post_v1(run.settings.url_graph, run._iface.headers, body, client=run._iface.client_api)
    graph: dict[str, Any] = json.loads(body)["graph"]
    return graph


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    run = pluto.init(project=PROJECT, name="all", dir=".", settings={"disable_system_metrics": True})
    files, data, graph = log_files(run), log_data(run), log_graph(run)
    marked = files["image/marked"][0]
    sent = {name: [sha256(Path(each._path).read_bytes()) for each in some] for name, some in files.items()}
    masks = [sha256(Path(each._path).read_bytes()) for each in marked._annotation_files]
    annotations = {name: json.loads(files[name][0]._annotations) for name in ("image/marked", "image/raw")}
    captions = {name: [each._caption for each in some] for name, some in files.items()}
    run.finish()
    number = run.settings._op_id
    listed = pq.get_files(PROJECT, number)
    got: dict[str, list[str]] = {}
    for name in files:
        path = pq.download_file(PROJECT, number, name, f"got/{name}")
        got[name] = [sha256(path.read_bytes())]
    print(
        json.dumps(
            {
                "types": types_of(pluto.File) + types_of(pluto.Data),
                "used": sorted({type(each).__name__ for some in files.values() for each in some}),
                "sent": sent,
                "got": got,
                "masks": masks,
                "annotations": annotations,
                "captions": captions,
                "listed": [[f["logName"], f["fileType"], f["sampleIndex"], f["annotations"]] for f in listed],
                "data": data,
                "graph": graph,
            }
        )
    )


main()
