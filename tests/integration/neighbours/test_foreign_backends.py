"""The MLflow and the Pluto backend keep the contract of destinations, against our server's routes of each protocol."""

import contextlib
import json
import math
import shutil
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flashtrial.core.ids import new_id
from flashtrial.protocol.records import Batch, encode_record
from flashtrial.testing.backend_contract import BackendContract
from flashtrial.tracking.backends import mlflow, pluto
from flashtrial.tracking.backends.base import Backend, Outage, WriterNotice
from flashtrial.tracking.backends.mlflow_rest import MLflowManager, MlflowRest
from flashtrial.tracking.backends.pluto_rest import PlutoRest
from flashtrial.tracking.journal.facts import Role
from flashtrial.tracking.media.staging import stage_bytes
from testkit.neighbours import pluto_variables, url_of
from testkit.tracking_server import TrackingClient, tracking_server

pytestmark = pytest.mark.integration

BASE_MS = 1_700_000_000_000
NUMBERS = [1.0, 0.1 + 0.2, math.nan, math.inf, -math.inf, 7.0]


class _Foreign(BackendContract):
    """Either backend, with a server of its own."""

    @pytest.fixture(autouse=True)
    def _serve(self, tmp_path: Path) -> Iterator[None]:
        with tracking_server(tmp_path / "server-home") as client:
            self._client: TrackingClient = client
            self._backend = self.opened(tmp_path / "home", client)
            with contextlib.closing(self._backend):
                yield

    def opened(self, home: Path, client: TrackingClient) -> Backend:
        raise NotImplementedError

    def backend(self) -> Backend:
        return self._backend

    def stored_seqs(self, writer_id: str) -> list[int]:
        """The contract's steps are its sequence numbers. Of every attempt: steps that went back begin a new one."""
        del writer_id
        [run] = self._client.get("/api/v1/runs").json()["runs"]
        path = f"/api/2.0/mlflow/metrics/get-history?run_id={run['id']}&metric_key=loss"
        return sorted(point["step"] for point in self._client.get(path).json()["metrics"])


class TestMlflowBackend(_Foreign):
    def opened(self, home: Path, client: TrackingClient) -> Backend:
        return mlflow.open_backend(home, {"MLFLOW_TRACKING_URI": url_of(client)})


class TestPlutoBackend(_Foreign):
    def opened(self, home: Path, client: TrackingClient) -> Backend:
        return pluto.open_backend(home, pluto_variables(client))


def opened(name: str, home: Path, url: str) -> Backend:
    """A backend as the sync process opens it."""
    variables = {"MLFLOW_TRACKING_URI": url, "PLUTO_API_KEY": "k"}
    variables |= dict.fromkeys(("PLUTO_URL_API", "PLUTO_URL_INGEST", "PLUTO_URL_PY"), url)
    return mlflow.open_backend(home, variables) if name == "mlflow" else pluto.open_backend(home, variables)


def life(run_id: str, outbox: Path) -> Batch:
    """A run with one of everything, by one writer."""
    outbox.mkdir(parents=True, exist_ok=True)
    staged = stage_bytes(outbox, b"the bytes of a file")
    opening = {
        "project": "a project",
        "name": "a name",
        "config": {"lr": 0.1, "net": {"depth": 2}},
        "tags": ["t1", "t2"],
    }
    bodies: list[tuple[str, dict[str, Any]]] = [("state", {"status": "running", **opening})]
    bodies += [
        ("metric", {"step": step, "values": {"loss": value, "é@x": value}}) for step, value in enumerate(NUMBERS)
    ]
    bodies += [
        ("system", {"values": {"sys/cpu.percent": 3.5}}),
        ("console", {"stream": "stderr", "line": 1, "text": "a line"}),
        ("tags", {"tags": ["t1", "t3"], "add": ["t3"], "remove": ["t2"]}),
        ("config", {"set": {"lr": 0.2, "late": "x"}}),
        ("data", {"name": "table", "type": "table", "step": 3, "value": {"a": [1]}}),
        (
            "data",
            {"name": "alert", "type": "alert", "step": None, "value": {"title": "T", "text": "b", "level": "WARN"}},
        ),
        (
            "file",
            {
                "name": "pictures/one",
                "step": 4,
                "index": 0,
                "type": "image",
                "sha256": staged.sha256,
                "size": staged.size_bytes,
                "staged": staged.ref,
                "mime": "image/png",
                "file_name": "one.png",
                "caption": "c",
                "meta": {},
            },
        ),
        ("state", {"status": "failed", "reason": "it broke"}),
    ]
    frames = (encode_record(seq, kind, BASE_MS + seq, body) for seq, (kind, body) in enumerate(bodies, 1))
    return Batch(run_id, "wr_one", b"".join(frames))


def runs_of(server: TrackingClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.get("/api/v1/runs").json()["runs"]
    return found


def values(server: TrackingClient, run_id: str, name: str) -> list[float]:
    return [float(value) for _, _, value in server.points(run_id, name)]


def same(found: list[float], sent: list[float]) -> bool:
    return [str(each) for each in found] == [str(each) for each in sent]


def post(server: TrackingClient, path: str, said: Mapping[str, Any]) -> Any:
    answer = server.request("POST", path, json.dumps(said).encode(), {"Content-Type": "application/json"})
    return answer.json()


@pytest.mark.parametrize("name", ["mlflow", "pluto"])
def test_a_life_is_one_run_however_often_it_is_sent(name: str, server: TrackingClient, tmp_path: Path) -> None:
    batch = life(new_id("run"), tmp_path / "home" / "outbox")
    count = len(NUMBERS) + 9
    for restart in range(3):
        with contextlib.closing(opened(name, tmp_path / "home", url_of(server))) as backend:
            [receipt] = backend.send([batch])
            assert (receipt.stored, receipt.refused, receipt.error) == (count, (), None)
        if restart == 1:
            shutil.rmtree(tmp_path / "home" / "destinations")
    [run] = runs_of(server)
    assert (run["project"], run["name"], run["status"]) == ("a project", "a name", "failed")
    assert same(values(server, run["id"], "loss"), NUMBERS)
    [file] = server.get(f"/api/v1/runs/{run['id']}/files?type={'artifact' if name == 'mlflow' else 'image'}").json()[
        "files"
    ][-1:]
    content = server.get(f"/api/v1/runs/{run['id']}/files/{file['id']}/content")
    assert name == "mlflow" or content.body == b"the bytes of a file"


def test_what_mlflow_shows_of_a_life(server: TrackingClient, tmp_path: Path) -> None:
    with contextlib.closing(opened("mlflow", tmp_path / "home", url_of(server))) as backend:
        backend.send([life("run_shown", tmp_path / "home" / "outbox")])
    [stored] = runs_of(server)
    run = server.get(f"/api/2.0/mlflow/runs/get?run_id={stored['id']}").json()["run"]
    params = {item["key"]: item["value"] for item in run["data"]["params"]}
    tags = {item["key"]: item["value"] for item in run["data"]["tags"]}
    assert params == {"lr": "0.1", "net/depth": "2", "late": "x"}
    assert (tags["t1"], tags["t3"], tags["flashtrial.run_id"], tags["flashtrial.config.lr"]) == (
        "true",
        "true",
        "run_shown",
        "0.2",
    )
    assert "t2" not in tags
    assert tags["flashtrial.reason"] == "it broke"
    assert (run["info"]["status"], run["info"]["start_time"]) == ("FAILED", BASE_MS + 1)
    assert run["info"]["end_time"] == BASE_MS + len(NUMBERS) + 9
    assert {item["key"] for item in run["data"]["metrics"]} == {"loss", "_xe9__x40_x", "system/cpu.percent"}
    below = "/api/2.0/mlflow-artifacts/artifacts"
    place = f"{run['info']['experiment_id']}/{stored['id']}/artifacts/pictures/one/step_4/one.png"
    assert server.get(f"{below}/{place}").body == b"the bytes of a file"


def test_what_mlflow_has_names_or_limits_for_is_apart_cut_and_said(server: TrackingClient, tmp_path: Path) -> None:
    config: dict[str, Any] = {"": "empty", "long": "x" * 7000, **{f"wide{number}": "é" * 6000 for number in range(60)}}
    later = {"long": "y" * 6500, "wide0": "now short"}
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("state", {"status": "running", "config": config, "tags": ["flashtrial.run_id", "mlflow.runName", "t"]}),
        ("metric", {"step": 1, "values": {"system/cpu.percent": 1.0}}),
        ("system", {"values": {"sys/cpu.percent": 2.0}}),
        ("config", {"set": later}),
        ("tags", {"tags": ["t"], "remove": ["flashtrial.run_id"]}),
        ("state", {"status": "failed", "reason": "r" * 9000}),
    ]
    frames = b"".join(encode_record(seq, kind, BASE_MS, body) for seq, (kind, body) in enumerate(bodies, 1))
    for _ in range(2):
        with contextlib.closing(opened("mlflow", tmp_path / "home", url_of(server))) as backend:
            [receipt] = backend.send([Batch("run_odd", "wr_one", frames)])
            assert (receipt.stored, receipt.refused) == (len(bodies), ())
        shutil.rmtree(tmp_path / "home" / "destinations")
    [stored] = runs_of(server)
    run = server.get(f"/api/2.0/mlflow/runs/get?run_id={stored['id']}").json()["run"]
    params = {item["key"]: item["value"] for item in run["data"]["params"]}
    tags = {item["key"]: item["value"] for item in run["data"]["tags"]}
    assert params["_x_"] == "empty"
    assert params["long"] == "x" * 6000
    assert all(params[f"wide{number}"] == "é" * 6000 for number in range(60))
    assert tags["flashtrial.config.long"] == "y" * 6000
    assert tags["flashtrial.config.wide0"] == "now short"
    assert tags["flashtrial.cut.long"] == "6500 characters, of which the first 6000 are kept"
    assert tags["flashtrial.run_id"] == "run_odd"
    assert run["info"]["run_name"] == "run_odd"
    assert (tags["_x6d_lflow.runName"], tags["t"]) == ("true", "true")
    assert "_x66_lashtrial.run_id" not in tags
    assert tags["flashtrial.reason"] == "r" * 7999 + "…"
    latest = {item["key"]: item["value"] for item in run["data"]["metrics"]}
    assert latest == {"_x73_ystem/cpu.percent": 1.0, "system/cpu.percent": 2.0}


def test_what_pluto_shows_of_a_life(server: TrackingClient, tmp_path: Path) -> None:
    with contextlib.closing(opened("pluto", tmp_path / "home", url_of(server))) as backend:
        backend.send([life("run_shown", tmp_path / "home" / "outbox")])
    [run] = runs_of(server)
    assert (run["tags"], run["config"]) == (["t1", "t3"], {"lr": 0.2, "net": {"depth": 2}, "late": "x"})
    below = f"/api/v1/runs/{run['id']}"
    assert server.get(below).json()["reason"] == '"it broke"'
    assert server.get(f"{below}/metric-names").json() == {"names": ["loss", "é@x"], "system": ["sys/cpu.percent"]}
    [line] = server.get(f"{below}/console").json()["lines"]
    assert (line["stream"], line["text"]) == ("stderr", "a line")
    data = {datum["name"]: datum for datum in server.get(f"{below}/data").json()["data"]}
    assert (data["table"]["type"], data["table"]["value"]) == ("table", {"a": [1]})
    assert data["alert"]["value"]["title"] == "T"
    [file] = server.get(f"{below}/files").json()["files"]
    assert (file["name"], file["step"], file["caption"], file["mime"]) == ("pictures/one", 4, "c", "image/png")


@pytest.mark.parametrize("name", ["mlflow", "pluto"])
def test_a_run_whose_owner_died_is_ended(name: str, server: TrackingClient, tmp_path: Path) -> None:
    with contextlib.closing(opened(name, tmp_path / "home", url_of(server))) as backend:
        backend.send([Batch("run_dead", "wr_one", encode_record(1, "state", BASE_MS, {"status": "running"}))])
        notice = WriterNotice("run_dead", "wr_one", Role.OWNER, is_alive=False, last_seq=1, reason="killed")
        assert isinstance(backend, mlflow.MlflowBackend | pluto.PlutoBackend)
        assert backend.beat([notice], 15)
    [run] = runs_of(server)
    assert run["status"] == ("stopped" if name == "mlflow" else "interrupted")


@pytest.mark.parametrize("name", ["mlflow", "pluto"])
def test_who_joins_late_does_not_open_a_run_that_has_ended(name: str, server: TrackingClient, tmp_path: Path) -> None:
    with contextlib.closing(opened(name, tmp_path / "home", url_of(server))) as backend:
        opening = encode_record(1, "state", BASE_MS, {"status": "running"})
        ending = encode_record(2, "state", BASE_MS + 50, {"status": "finished"})
        backend.send([Batch("run_j", "wr_one", opening + ending), Batch("run_j", "wr_two", opening)])
        assert runs_of(server)[0]["status"] == "finished"
        later = encode_record(1, "state", BASE_MS + 90, {"status": "running", "resumed": True})
        backend.send([Batch("run_j", "wr_three", later)])
    assert runs_of(server)[0]["status"] == "running"


@pytest.mark.parametrize("name", ["mlflow", "pluto"])
def test_nobody_at_the_address_is_an_outage_that_tells_no_password(name: str, tmp_path: Path) -> None:
    url = "http://joe:open-sesame@127.0.0.1:9"
    with contextlib.closing(opened(name, tmp_path, url)) as backend, pytest.raises(Outage, match="reached") as told:
        backend.send([Batch("run_x", "w", encode_record(1, "state", BASE_MS, {"status": "running"}))])
    assert "http://127.0.0.1:9/" in str(told.value)
    assert "sesame" not in str(told.value)


def test_addresses_and_keys_that_are_none_are_outages(tmp_path: Path) -> None:
    with pytest.raises(Outage, match="http"):
        MlflowRest.from_environment({"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"})
    with pytest.raises(Outage, match="PLUTO_API_KEY"):
        PlutoRest.from_environment({})


def test_a_page_of_another_program_judges_no_record(tmp_path: Path) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()
            self.wfile.write(b"<html>not here</html>")

        do_POST = do_GET  # noqa: N815 - the name is the standard library's

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        for name in ("mlflow", "pluto"):
            url = f"http://127.0.0.1:{server.server_address[1]}"
            with contextlib.closing(opened(name, tmp_path, url)) as backend, pytest.raises(Outage, match="HTTP 404"):
                backend.send([Batch("run_x", "w", encode_record(1, "state", BASE_MS, {"status": "running"}))])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_manager_makes_runs_by_hand(server: TrackingClient, tmp_path: Path) -> None:
    with contextlib.closing(MLflowManager(url_of(server))) as manager:
        experiment = manager.get_experiment("by hand")
        assert manager.get_experiment("by hand") == experiment
        run_id = manager.create_run(experiment)
        manager.log_metric(run_id, "loss", 0.5, 3)
        manager.log_param(run_id, "lr", 0.1)
        (tmp_path / "a.txt").write_text("words")
        manager.log_artifact(run_id, tmp_path / "a.txt")
        manager.end_run(run_id)
    run = server.get(f"/api/2.0/mlflow/runs/get?run_id={run_id}").json()["run"]
    assert run["info"]["status"] == "FINISHED"
    assert [(each["key"], each["value"], each["step"]) for each in run["data"]["metrics"]] == [("loss", 0.5, 3)]
    assert run["data"]["params"] == [{"key": "lr", "value": "0.1"}]
    listed = server.get(f"/api/2.0/mlflow/artifacts/list?run_id={run_id}").json()["files"]
    assert listed == [{"path": "a.txt", "is_dir": False, "file_size": 5}]


def test_two_runs_made_for_one_are_made_one(server: TrackingClient, tmp_path: Path) -> None:
    """Another sync process made a run at the same time, and it began first."""
    url, opening = url_of(server), encode_record(1, "state", BASE_MS, {"status": "running", "project": "p"})
    with contextlib.closing(opened("mlflow", tmp_path / "one", url)) as one:
        one.send([Batch("run_s", "wr_one", opening)])
    with contextlib.closing(opened("mlflow", tmp_path / "two", url)) as two:
        two.send([Batch("run_s", "wr_two", opening)])
    experiment = server.get("/api/2.0/mlflow/experiments/get-by-name?experiment_name=p").json()["experiment"]
    found = post(server, "/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment["experiment_id"]]})["runs"]
    assert len(found) == 1
