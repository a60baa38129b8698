"""Every file and data type of the unmodified pluto-ml's public API: what was sent is stored, byte for byte."""

from pathlib import Path
from typing import Any

import pytest

from testkit.neighbours import pluto_variables, told
from testkit.tracking_server import TrackingClient

pytestmark = [pytest.mark.integration, pytest.mark.network, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
# The types of 0.0.29 that hold something; a later client's new ones are to be sent by the script, too.
TYPES = {"Artifact", "Audio", "File", "Image", "Text", "Video", "Data", "Graph", "Histogram", "Table"}


def below(server: TrackingClient, path: str) -> Any:
    [run] = server.get("/api/v1/runs").json()["runs"]
    return server.get(f"/api/v1/runs/{run['id']}/{path}?limit=1000").json()


def test_every_type_of_the_client_is_stored_as_it_was_sent(
    pluto_python: Path, server: TrackingClient, tmp_path: Path
) -> None:
    said = told(pluto_python, HERE / "pluto_types_script.py", tmp_path / "work", pluto_variables(server))
    assert set(said["types"]) == TYPES
    files = below(server, "files")["files"]
    check_files(said, [file for file in files if file["type"] != "mask"])
    check_marks(said, files)
    check_data(said, {datum["name"]: datum for datum in below(server, "data")["data"]})


def check_files(said: dict[str, Any], files: list[dict[str, Any]]) -> None:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(files, key=lambda each: int(each["index"])):
        by_name.setdefault(file["name"], []).append(file)
    assert {name: [file["sha256"] for file in some] for name, some in by_name.items()} == said["sent"]
    assert {name: [file["caption"] for file in some] for name, some in by_name.items()} == said["captions"]
    assert said["got"] == {name: some[:1] for name, some in said["sent"].items()}, "read back by the client"
    assert {name.partition("/")[0] for name, some in by_name.items() if some[0]["type"] == name.partition("/")[0]} == {
        "video",
        "audio",
        "text",
        "image",
        "file",
        "artifact",
    }
    assert {name: by_name[name][0]["mime"] for name in ("video/bytes", "video/file", "video/gif")} == {
        "video/bytes": "video/mp4",
        "video/file": "video/webm",
        "video/gif": "image/gif",
    }


def check_marks(said: dict[str, Any], files: list[dict[str, Any]]) -> None:
    """Boxes, masks and free annotations of images."""
    marked = {file["name"]: file["meta"]["annotations"] for file in files if "annotations" in file["meta"]}
    assert marked == said["annotations"]
    masks = [file for file in files if file["type"] == "mask"]
    assert [mask["sha256"] for mask in masks] == said["masks"]
    assert [mask["file_name"] for mask in masks] == [marked["image/marked"]["masks"]["seg"]["fileName"]]
    listed = {name: annotations for name, _, _, annotations in said["listed"] if annotations}
    assert listed == said["annotations"], "as the client's own query tells it"


def check_data(said: dict[str, Any], stored: dict[str, dict[str, Any]]) -> None:
    model = stored.pop("model")
    assert {name: datum["value"] for name, datum in stored.items()} == said["data"]
    assert all(datum["type"] == name.partition("/")[0] for name, datum in stored.items())
    assert (model["type"], model["value"]) == ("model-graph", said["graph"])


@pytest.mark.heavy
def test_a_watched_model_brings_its_graph_and_histograms(
    pluto_python: Path, server: TrackingClient, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    packages = str(Path(torch.__file__).parents[1])
    script = HERE / "pluto_watch_script.py"
    said = told(pluto_python, script, tmp_path / "work", pluto_variables(server), packages)
    stored = below(server, "data")["data"]
    [model] = [datum["value"] for datum in stored if datum["type"] == "model-graph"]
    assert model["format"] == "torch"
    assert [model["nodes"][str(place)]["type"] for place in range(3)] == said["layers"]
    assert {"grad/0.weight", "param/0.weight"} <= {datum["name"] for datum in stored}
