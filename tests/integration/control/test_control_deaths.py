"""Controllers and servers that are killed between a command and its receipt: nothing is lost, or done twice."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import urllib3

from flashtrial.core.files import write_atomically
from testkit.control import Experiment, dispatcher, post
from testkit.tracking_server import Answer, TrackingClient, tracking_server
from testkit.waiting import wait_until

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
SERVER = HERE.parent / "server" / "serve_until_killed.py"
EXPERIMENT = "exp"


class Scene:
    """A server and controllers, each a process, on one home."""

    def __init__(self, home: Path, scratch: Path) -> None:
        self._home = home
        self._port_file = scratch / "port"
        self._controller_home = scratch / "controller"
        self._controller_home.mkdir()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._clients: list[TrackingClient] = []

    @contextlib.contextmanager
    def server_beside(self) -> Iterator[None]:
        """A server in this process, which nobody kills."""
        with tracking_server(self._home) as client:
            write_atomically(self._port_file, str(client.port).encode())
            self._clients.append(client)
            yield

    def start_server(self) -> None:
        self._port_file.unlink(missing_ok=True)
        process = self._server = self._start(str(SERVER), str(self._port_file))
        wait_until(lambda: self._port_file.exists() or process.poll() is not None, 30, "the server's port")
        self._clients.append(TrackingClient(int(self._port_file.read_text())))

    def kill_server(self) -> None:
        """As the kernel does: at once, with nothing said."""
        self._server.kill()
        self._server.wait(10)

    def start_controller(self, *dies_at: str) -> subprocess.Popen[bytes]:
        script = str(HERE / "controller_script.py")
        return self._start(script, str(self._controller_home), str(self._port_file), EXPERIMENT, *dies_at)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, *words], env={**os.environ, "FLASHTRIAL_HOME": str(self._home)})
        self._processes.append(process)
        return process

    @property
    def client(self) -> TrackingClient:
        return self._clients[-1]

    def run(self) -> dict[str, Any]:
        """The experiment's first run, once its controller listens."""

        def found() -> list[dict[str, Any]]:
            listed = self.client.get("/api/v1/experiments").json()["experiments"]
            connected = listed and listed[0]["controller_connected"]
            return list(dispatcher(self.client, "get-all-runs").json()) if connected else []

        return wait_until(found, 30, "a controller that listens, and its run")[0]

    def deeds(self) -> list[dict[str, Any]]:
        """What controllers have carried out."""
        lines = (self._controller_home / "deeds").read_bytes().splitlines()
        return [deed for deed in map(orjson.loads, lines) if deed["command"]]

    def command(self, command_id: str) -> dict[str, Any]:
        command: dict[str, Any] = self.client.get(f"/api/v1/commands/{command_id}").json()
        return command

    def status_of(self, run_id: int) -> str:
        return str(dispatcher(self.client, "get-run", {"run_id": run_id}).json().get("status"))

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for process in self._processes:
            process.kill()
            process.wait(10)


@pytest.fixture
def scene(flashtrial_home: Path, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(flashtrial_home, tmp_path)
    with scene.server_beside(), contextlib.closing(scene):
        yield scene


@pytest.fixture
def mortal_scene(flashtrial_home: Path, tmp_path: Path) -> Iterator[Scene]:
    """One whose server is a process that can be killed."""
    with contextlib.closing(Scene(flashtrial_home, tmp_path)) as scene:
        scene.start_server()
        yield scene


def _ask(client: TrackingClient, command_id: str, kind: str, run_id: int, **more: Any) -> Answer:
    body = {"id": command_id, "experiment": 1, "run_id": run_id, "kind": kind, **more}
    return post(client, "/api/v1/commands", body)


def test_a_controller_carries_out_and_refuses_what_a_dashboard_asks(scene: Scene) -> None:
    scene.start_controller()
    run_id = scene.run()["run_id"]
    calls = [
        ("resume-run", {}, 409),
        ("stop-run", {}, 200),
        ("stop-run", {}, 409),
        ("resume-run", {}, 200),
        ("clone-modify-run", {"config": {"color": 1}}, 400),
        ("clone-modify-run", {"config": {"lr": 1}}, 200),
        ("delete-run", {}, 200),
        ("delete-run", {}, 409),
    ]
    answers = [dispatcher(scene.client, route, {"run_id": run_id, **more}) for route, more, _ in calls]
    assert [answer.status for answer in answers] == [status for _, _, status in calls]
    assert answers[0].json() == {"error": "it is running"}
    clone = answers[5].json()["new_run_id"]
    wait_until(lambda: (scene.status_of(run_id), scene.status_of(clone)) == ("KILLED", "ONGOING"))


@pytest.mark.parametrize("point", ["inbox", "decision", "receipt"])
def test_the_next_life_of_a_controller_does_what_the_last_owed_once(scene: Scene, point: str) -> None:
    first = scene.start_controller(point)
    run_id = scene.run()["run_id"]
    asked = _ask(scene.client, "mine", "clone-modify", run_id, config={"lr": 2})
    first.wait(20)
    assert asked.json()["state"] == ("done" if point == "receipt" else "pending")
    assert scene.deeds() == []
    scene.start_controller()
    wait_until(scene.deeds, 20, "the clone")
    command = wait_until(lambda: (told := scene.command("mine"))["state"] == "done" and told)
    assert [(deed["command"], deed["run_id"]) for deed in scene.deeds()] == [("mine", command["new_run_id"])]
    wait_until(lambda: scene.status_of(command["new_run_id"]) == "ONGOING")


def test_an_older_controller_ends_when_a_newer_one_takes_over_and_its_late_receipt_is_rejected(scene: Scene) -> None:
    older = scene.start_controller()
    scene.run()
    before = Experiment(scene.client, EXPERIMENT, number=1, epoch=1)
    scene.start_controller()
    assert older.wait(20) == 7
    run_id = scene.run()["run_id"]
    assert _ask(scene.client, "mine", "stop", run_id).json()["state"] == "done"
    late = before.receipt("mine")
    assert (late.status, late.json()["error"]) == (409, "superseded")
    assert [deed["command"] for deed in scene.deeds()] == ["mine"]


def test_two_dashboards_that_click_at_once_stop_a_run_once(scene: Scene) -> None:
    scene.start_controller()
    run_id = scene.run()["run_id"]
    answers: list[int] = []
    body = {"run_id": run_id}
    clicks = [
        threading.Thread(target=lambda: answers.append(dispatcher(scene.client, "stop-run", body).status))
        for _ in range(2)
    ]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join(20)
    assert sorted(answers) == [200, 409]
    assert len(scene.deeds()) == 1


def test_a_command_outlives_the_server_that_took_it(mortal_scene: Scene) -> None:
    scene = mortal_scene
    controller = scene.start_controller("decision")
    run_id = scene.run()["run_id"]
    assert _ask(scene.client, "mine", "stop", run_id).status == 202
    controller.wait(20)
    scene.kill_server()
    scene.start_server()
    assert scene.command("mine")["state"] == "pending"
    scene.start_controller()
    wait_until(lambda: scene.command("mine")["state"] == "done", 20)
    again = _ask(scene.client, "mine", "stop", run_id)
    assert (again.status, again.json()["state"]) == (200, "done")
    assert [deed["command"] for deed in scene.deeds()] == ["mine"]


def test_a_call_of_the_dispatcher_whose_server_was_killed_is_never_carried_out(mortal_scene: Scene) -> None:
    scene = mortal_scene
    controller = scene.start_controller("inbox")
    run_id = scene.run()["run_id"]
    call = threading.Thread(target=_call_in_vain, args=(scene.client, run_id))
    call.start()
    controller.wait(20)
    scene.kill_server()
    call.join(20)
    scene.start_server()
    (command,) = scene.client.get("/api/v1/commands").json()["commands"]
    wait_until(lambda: scene.command(command["id"])["state"] == "expired")
    scene.start_controller()
    scene.run()
    assert _ask(scene.client, "later", "stop", run_id).json()["state"] == "done"
    assert [deed["command"] for deed in scene.deeds()] == ["later"]


def _call_in_vain(client: TrackingClient, run_id: int) -> None:
    with pytest.raises(urllib3.exceptions.HTTPError):
        dispatcher(client, "delete-run", {"run_id": run_id})


@pytest.mark.slow
def test_whatever_moment_the_server_is_killed_at_each_command_is_carried_out_once(mortal_scene: Scene) -> None:
    scene = mortal_scene
    scene.start_controller()
    run_id = scene.run()["run_id"]
    wanted = [f"clone-{number}" for number in range(12)]
    dashboard = threading.Thread(target=_ask_until_done, args=(scene, wanted, run_id))
    dashboard.start()
    for enough in (2, 5, 8):
        wait_until(lambda enough=enough: len(scene.deeds()) >= enough, 30, "deeds")  # type: ignore[misc]
        scene.kill_server()
        scene.start_server()
    dashboard.join(40)
    assert not dashboard.is_alive()
    wait_until(lambda: len(scene.deeds()) == len(wanted), 20, "the last deed")
    told = {name: scene.command(name)["new_run_id"] for name in wanted}
    assert {deed["command"]: deed["run_id"] for deed in scene.deeds()} == told
    assert len(set(told.values())) == len(wanted)


def _ask_until_done(scene: Scene, command_ids: list[str], run_id: int) -> None:
    """As a dashboard does: with the same id again, whatever happened to the answer."""
    for command_id in command_ids:

        def is_done(command_id: str = command_id) -> bool:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                answer = _ask(scene.client, command_id, "clone-modify", run_id, config={"lr": 1})
                return answer.status == 200 and answer.json()["state"] == "done"
            return False

        wait_until(is_done, 40, f"the receipt of {command_id}")
