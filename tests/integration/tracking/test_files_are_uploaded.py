"""Files from `log` to the server's disk: equal bytes, through deaths, outages and damage."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from flashtrial.server.files.limits import BlobLimits
from flashtrial.tracking.media.staging import files_dir
from testkit.tracking_server import TrackingClient, tracking_server

from .conftest import Lab

EVERY_KIND = """
import json, flashtrial, numpy as np, pathlib
run = flashtrial.init(project="p", run_id="r")
path = pathlib.Path(FOLDER) / "model \\U0001f388 <b>.pt"
path.write_bytes(bytes(range(256)) * 5000)
page = pathlib.Path(FOLDER) / "page.html"
page.write_text("<script>alert(1)</script>")
run.log({
    "image": flashtrial.Image(np.arange(300, dtype=np.uint8).reshape(10, 10, 3), caption="ten"),
    "several": [flashtrial.Image(np.full((2, 2), shade)) for shade in (0, 100, 200)],
    "audio": flashtrial.Audio(np.sin(np.arange(800)), rate=8000),
    "video": flashtrial.Video(np.zeros((3, 4, 4, 3), dtype=np.uint8)),
    "text": flashtrial.Text("words \\u2603"),
    "model": flashtrial.Artifact(path, metadata={"epoch": 3}),
    "page": flashtrial.File(page),
    "../../etc/passwd": flashtrial.File(page, name="../../../evil"),
    "empty": flashtrial.Artifact(b""),
    "table": flashtrial.Table({"a": [1, 2], "b": ["x", None]}),
    "histogram": flashtrial.Histogram([1, 2, 2, 3], bins=3),
    "graph": flashtrial.Graph({"edges": [("a", "b")]}),
    "loss": 0.5,
}, step=7)
path.write_bytes(b"overwritten afterwards")
page.unlink()
report = run.finish()
print(json.dumps([str(report), report.files_pending, report.files_refused, report.pending]))
"""


def files_of(server: TrackingClient, run_id: str = "r") -> dict[str, list[dict[str, Any]]]:
    """What the server lists, by name."""
    answer = server.get(f"/api/v1/runs/{run_id}/files?limit=1000")
    assert answer.status == 200, answer.body
    found: dict[str, list[dict[str, Any]]] = {}
    for file in answer.json()["files"]:
        found.setdefault(file["name"], []).append(file)
    return found


def content_of(server: TrackingClient, file: dict[str, Any], run_id: str = "r") -> bytes:
    answer = server.get(f"/api/v1/runs/{run_id}/files/{file['id']}/content")
    assert answer.status == 200, answer.body
    assert hashlib.sha256(answer.body).hexdigest() == file["sha256"]
    return answer.body


def all_arrived(server: TrackingClient, count: int, run_id: str = "r") -> bool:
    answer = server.get(f"/api/v1/runs/{run_id}/files?limit=1000")
    return answer.status == 200 and [file["is_pending"] for file in answer.json()["files"]] == [False] * count


def script(source: str, folder: Path) -> str:
    return f"FOLDER = {str(folder)!r}\n{source}"


def staged(lab: Lab) -> list[str]:
    folder = files_dir(lab.outbox)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_every_kind_comes_back_as_it_was_logged(lab: Lab, server: TrackingClient, tmp_path: Path) -> None:
    ended = lab.run(script(EVERY_KIND, tmp_path))
    assert ended.status == 0, ended
    said, *counts = json.loads(ended.output)
    assert counts == [0, 0, 0], said
    found = files_of(server)
    assert content_of(server, found["model"][0]) == bytes(range(256)) * 5000
    assert (found["model"][0]["file_name"], found["model"][0]["meta"]) == ("model 🎈 <b>.pt", {"epoch": 3})
    assert content_of(server, found["text"][0]).decode() == "words ☃"
    assert content_of(server, found["page"][0]) == b"<script>alert(1)</script>"
    assert content_of(server, found["empty"][0]) == b""
    assert content_of(server, found["image"][0]).startswith(b"\x89PNG")
    assert content_of(server, found["audio"][0]).startswith(b"RIFF")
    assert [file["index"] for file in found["several"]] == [0, 1, 2]
    assert {file["step"] for files in found.values() for file in files} == {7}
    assert found["page"][0]["sha256"] == found["../../etc/passwd"][0]["sha256"]
    data = {datum["name"]: datum for datum in server.get("/api/v1/runs/r/data").json()["data"]}
    assert data["table"]["value"]["table"] == [[1, "x"], [2, None]]
    assert data["histogram"]["value"]["freq"] == [1, 2, 1]
    assert data["graph"]["value"]["edges"] == [{"source": "a", "target": "b"}]
    lab.wait_until_synced()
    assert staged(lab) == []


def test_files_that_were_logged_while_the_server_was_down_arrive_later(lab: Lab, tmp_path: Path) -> None:
    ended = lab.run(script(EVERY_KIND, tmp_path), FLASHTRIAL_FINISH_TIMEOUT_S="0")
    said, waiting, *_ = json.loads(ended.output)
    assert waiting == 11, said
    assert "11 files to be uploaded yet" in said
    lab.end_sync()
    with tracking_server(tmp_path / "server-home") as server:
        lab.start_sync()
        lab.place_instance(f"http://127.0.0.1:{server.port}")
        lab.wait_until_synced()
        assert all_arrived(server, 11)
        assert content_of(server, files_of(server)["model"][0]) == bytes(range(256)) * 5000
    assert staged(lab) == []


LARGE = """
import flashtrial, pathlib
run = flashtrial.init(run_id="r")
run.log({"large": flashtrial.Artifact(FOLDER + "/large.bin")})
run.finish(timeout_s=0)
"""


@pytest.mark.parametrize("damage", ["gone", "changed", "shorter"])
def test_a_staged_file_that_is_damaged_is_set_aside_and_the_rest_goes_on(
    lab: Lab, server: TrackingClient, tmp_path: Path, damage: str
) -> None:
    lab.url = None
    (tmp_path / "large.bin").write_bytes(os.urandom(5000))
    source = LARGE.replace("run.finish", "run.log({'fine': flashtrial.Text('y')}); run.finish")
    assert lab.run(script(source, tmp_path)).status == 0
    lab.end_sync()
    (path,) = [path for path in files_dir(lab.outbox).iterdir() if "." in path.name and path.stat().st_size == 5000]
    if damage == "gone":
        path.unlink()
    elif damage == "changed":
        path.write_bytes(b"x" * 5000)
    else:
        path.write_bytes(b"x" * 100)
    lab.start_sync()
    lab.place_instance(f"http://127.0.0.1:{server.port}")
    lab.wait_until_synced()
    found = files_of(server)
    assert found["large"][0]["is_pending"]
    assert content_of(server, found["fine"][0]) == b"y"
    (dead,) = lab.outbox.glob("*.files.dead")
    assert {"gone": "gone", "changed": "damaged", "shorter": "shorter"}[damage] in dead.read_text()


def test_a_file_that_is_larger_than_the_server_takes_is_refused_with_the_reason(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(bytes(5000))
    with tracking_server(tmp_path / "server-home", blob_limits=BlobLimits(file_bytes=4000)) as server:
        lab.url = f"http://127.0.0.1:{server.port}"
        source = LARGE.replace("run.finish(timeout_s=0)", "print(run.finish())")
        ended = lab.run(script(source, tmp_path))
        assert "1 file refused and set aside" in ended.output, ended
        lab.wait_until_synced()
        assert files_of(server)["large"][0]["is_pending"]
    assert [path.stat().st_size for path in (files_dir(lab.outbox) / "dead").iterdir()] == [5000]


SHARED = """
import os, flashtrial
run = flashtrial.init(run_id="r")
pids = []
for rank in range(4):
    pid = os.fork()
    if not pid:
        flashtrial.log({"checkpoint": flashtrial.Artifact(FOLDER + "/large.bin")}, step=rank)
        os._exit(0)
    pids.append(pid)
for pid in pids:
    os.waitpid(pid, 0)
print(run.finish())
"""


def test_forks_that_log_the_same_file_bring_it_once_and_name_it_each(
    lab: Lab, server: TrackingClient, tmp_path: Path
) -> None:
    content = os.urandom(3 * 1024 * 1024)
    (tmp_path / "large.bin").write_bytes(content)
    ended = lab.run(script(SHARED, tmp_path))
    assert ended.status == 0, ended
    lab.wait_until_synced()
    found = files_of(server)["checkpoint"]
    assert sorted(file["step"] for file in found) == [0, 1, 2, 3]
    assert {content_of(server, file) for file in found} == {content}
    stored = list((tmp_path / "server-home" / "blobs").glob("[0-9a-f][0-9a-f]/*"))
    assert len(stored) == 1
    assert staged(lab) == []
