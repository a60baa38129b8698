"""An experiment as its controller tells it to a tracking server, and commands as dashboards send them."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from flashtrial.protocol.records import encode_record
from flashtrial.protocol.trials import ExperimentReport, ExperimentStatus, TrialReport, TrialStatus
from testkit.tracking_server import Answer, TrackingClient, batch, state

Judge: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

JSON = {"Content-Type": "application/json"}


@dataclass(slots=True)
class Experiment:
    """One experiment on one server, and its controller of the moment."""

    server: TrackingClient
    name: str = "exp"
    number: int = 0
    epoch: int = 0
    _seqs: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def take_over(self, controller_id: str = "c1") -> int:
        """Become the controller; the epoch."""
        answer = post(self.server, "/api/v1/experiments", {"name": self.name, "controller_id": controller_id})
        assert answer.status == 200, answer.body
        self.number, self.epoch = answer.json()["experiment"], answer.json()["epoch"]
        return self.epoch

    def tell(self, status: ExperimentStatus, epoch: int | None = None, **facts: Any) -> None:
        """Report the experiment, on the controller's own run."""
        seq = next(self._seqs)
        report = ExperimentReport(self.name, self.epoch if epoch is None else epoch, seq, status, **facts)
        self.record(f"{self.name}/controller", encode_record(seq, "data", seq, report.body()))

    def tell_trial(self, run_id: int, status: TrialStatus, epoch: int | None = None, **facts: Any) -> None:
        """Report a trial, on the run that it tracks."""
        seq = next(self._seqs)
        version = facts.pop("version", seq)
        told = self.epoch if epoch is None else epoch
        report = TrialReport(self.name, run_id, told, version, status, **facts)
        self.record(self.run_of(run_id), encode_record(seq, "data", seq, report.body()))

    def run_of(self, run_id: int) -> str:
        """The id of the run that a trial tracks."""
        return f"{self.name}/{run_id}"

    def open_run(self, run_id: int, config: dict[str, Any]) -> None:
        """Open the run that a trial tracks."""
        self.record(self.run_of(run_id), state(next(self._seqs), "running", config=config))

    def record(self, run: str, *frames: bytes) -> None:
        (result,) = self.server.ingest(batch(run, *frames, writer_id=f"w{self.epoch}"))
        assert result["refused"] == [], result

    def ask(self, run_id: int, kind: str, **fields: Any) -> Answer:
        """Command something of a trial, as a dashboard does."""
        return post(
            self.server, "/api/v1/commands", {"experiment": self.number, "run_id": run_id, "kind": kind, **fields}
        )

    def inbox(self, after: int = 0, wait_s: float = 0.0, epoch: int | None = None) -> Answer:
        """Ask for commands, as the controller does."""
        told = self.epoch if epoch is None else epoch
        return self.server.get(f"/api/v1/experiments/{self.number}/inbox?epoch={told}&after={after}&wait_s={wait_s}")

    def receipt(self, command_id: str, **fields: Any) -> Answer:
        """Settle a command, as the controller does."""
        body = {"command_id": command_id, "epoch": self.epoch, **fields}
        return post(self.server, f"/api/v1/experiments/{self.number}/receipts", body)


def post(server: TrackingClient, path: str, body: object, **headers: str) -> Answer:
    """A request with a JSON body."""
    return server.request("POST", path, orjson.dumps(body), {**JSON, **headers})


def dispatcher(server: TrackingClient, route: str, body: object = None, **headers: str) -> Answer:
    """A call of the dispatcher: GET without a body, POST with one."""
    if body is None:
        return server.request("GET", f"/dispatcher/{route}", headers=headers)
    return post(server, f"/dispatcher/{route}", body, **headers)


def begun(server: TrackingClient, name: str = "exp") -> Experiment:
    """A running experiment with one running trial, 1."""
    experiment = Experiment(server, name)
    experiment.take_over()
    experiment.tell(ExperimentStatus.RUNNING)
    experiment.open_run(1, {"lr": 0.1, "model": {"depth": 2}})
    experiment.tell_trial(1, TrialStatus.RUNNING)
    return experiment


@contextlib.contextmanager
def controller(experiment: Experiment, judge: Judge) -> Iterator[list[dict[str, Any]]]:
    """Settle each command of the experiment as `judge` says, on a thread, until the block ends; what it saw."""
    seen: list[dict[str, Any]] = []
    over = threading.Event()

    def serve() -> None:
        after = 0
        while not over.is_set():
            answer = experiment.inbox(after, 0.2)
            if answer.status != 200:
                return
            for command in answer.json()["commands"]:
                seen.append(command)
                experiment.receipt(command["id"], **judge(command))
            after = answer.json()["next"]

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(20)
        assert not thread.is_alive()


def agree(_: dict[str, Any]) -> dict[str, Any]:
    """A judge who lets everything pass."""
    return {}
