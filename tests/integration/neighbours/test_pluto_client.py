"""The unmodified pluto-ml against our server: all that it logs is there, value by value, and it reads it back."""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testkit.neighbours import pluto_variables, told
from testkit.tracking_server import TrackingClient, tracking_server

pytestmark = [pytest.mark.integration, pytest.mark.network, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
PROJECT = "Neighbours first"


class Told:
    """What the client told of its run, and the server that it spoke to."""

    def __init__(self, said: dict[str, Any], server: TrackingClient) -> None:
        self.said = said
        self.server = server
        [self.run] = server.get("/api/v1/runs?limit=10").json()["runs"]

    def below(self, path: str) -> Any:
        answer = self.server.get(f"/api/v1/runs/{self.run['id']}/{path}")
        assert answer.status == 200, answer.body
        return answer.json()


@pytest.fixture(scope="module")
def first(pluto_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("first")
    with tracking_server(folder / "server-home") as server:
        yield Told(told(pluto_python, HERE / "pluto_script.py", folder / "work", pluto_variables(server)), server)


def exact(value: float | str) -> str:
    number = float(value)
    return "NaN" if math.isnan(number) else struct.pack(">d", number).hex()


def test_every_number_is_stored_to_the_last_bit_and_read_back(first: Told) -> None:
    points = first.server.points(first.run["id"], "loss")
    assert [exact(value) for _, _, value in points] == first.said["sent"]
    assert first.said["loss"] == [[step, value] for step, value in enumerate(first.said["sent"])]
    assert [value for _, _, value in first.server.points(first.run["id"], "nested/acc")] == list(range(8))


def test_windows_figures_and_boards_are_those_of_the_numbers(first: Told) -> None:
    said = first.said
    assert said["window"] == [2, 3]
    assert said["metric_names"] == ["nested/acc"]
    assert said["statistics"] == said["best"] == 7
    assert said["compared"] == said["number"]


def test_the_run_is_as_it_was_told(first: Told) -> None:
    config = {"lr": 0.1, "net": {"depth": 2, "width": 3}}
    assert first.said["run"] == {
        "name": "first",
        "status": "COMPLETED",
        "tags": ["one", "two"],
        "config": config,
        "displayId": first.said["display_id"],
        "projectName": PROJECT,
    }
    ours = first.run
    assert (ours["project"], ours["status"], ours["tags"], ours["config"]) == (
        PROJECT,
        "finished",
        ["one", "two"],
        config,
    )
    assert first.said["projects"] == [PROJECT]
    assert first.said["by_display_id"] == first.said["number"]


def test_runs_are_found_by_tags_and_filters(first: Told) -> None:
    assert first.said["listed"] == [first.said["number"]]
    assert first.said["not_listed"] == []


def test_files_come_back_byte_for_byte(first: Told) -> None:
    assert first.said["got_hashes"] == first.said["sent_hashes"]
    files = {file["name"]: file for file in first.below("files")["files"]}
    assert {name: files[name]["type"] for name in ("image", "sound", "words", "notes")} == {
        "image": "image",
        "sound": "audio",
        "words": "text",
        "notes": "artifact",
    }
    assert files["notes"]["sha256"] == first.said["sent_hashes"][0]
    assert first.said["files"]["image"] == {"fileType": "png", "step": 9, "caption": "a small one"}
    assert first.said["late"] == ["notes.bin"]


def test_tables_histograms_graphs_and_texts_are_kept(first: Told) -> None:
    data = first.below("data?limit=1000")["data"]
    by_name = {datum["name"]: datum for datum in data}
    assert by_name["table"]["type"] == "table"
    assert "[[1, 'a'], [2, 'b']]" in str(by_name["table"]["value"])
    assert (by_name["histogram"]["type"], by_name["graph"]["type"]) == ("histogram", "graph")
    phases = [(datum["step"], datum["value"]) for datum in data if datum["name"] == "phase"]
    assert phases == [(step, "warm" if step < 4 else "cold") for step in range(8)]


def test_the_alert_is_kept(first: Told) -> None:
    [alert] = first.below("data?name=alert")["data"]
    assert alert["type"] == "alert"
    assert (alert["value"]["title"], alert["value"]["text"]) == ("Careful", "it burns")


def test_what_was_printed_is_there_by_stream(first: Told) -> None:
    assert "a line of output" in first.said["logs"]
    assert "a line of errors" in first.said["errors"]
    assert "a line of output" not in first.said["errors"]
    lines = {(line["stream"], line["text"]) for line in first.below("console")["lines"]}
    assert {("stdout", "a line of output"), ("stderr", "a line of errors")} <= lines


def test_figures_of_the_machine_are_apart(first: Told) -> None:
    names = first.below("metric-names")
    assert names["names"] == ["loss", "nested/acc"]
    assert any(name.startswith("sys/cpu") for name in names["system"])


def test_a_run_is_gone_on_with_and_forked(pluto_python: Path, server: TrackingClient, tmp_path: Path) -> None:
    said = told(pluto_python, HERE / "pluto_again_script.py", tmp_path / "work", pluto_variables(server))
    assert said["same"]
    assert said["resumed"] == [False, True, True, False]
    assert said["collision"] == "RunExistsError"
    assert said["run"] == {
        "name": "named",
        "status": "COMPLETED",
        "config": {"a": 1, "deep": {"x": 1, "y": 2}},
        "externalId": "my-own-id",
    }
    assert said["steps"] == [1, 2, 3]
    assert said["fork"] == {
        "config": {"a": 9, "deep": {"x": 1, "y": 2}},
        "tags": ["kept"],
        "forkedFromRunId": said["parent"],
        "forkStep": 2,
    }
    assert said["fork_curve"] == [[1, 1.0], [2, 0.5], [3, 0.1]]
