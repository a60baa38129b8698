"""A controller as an engine has to be one: judges, writes its decision down, sends the receipt, carries out what the
server took. Lives in `argv[1]`, where its decisions and deeds outlive it; finds the server by the port in `argv[2]`;
controls the experiment `argv[3]`; dies at the point `argv[4]`, where there is one: inbox, decision, receipt.
"""

import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import urllib3

from flashtrial.core.ids import new_id
from flashtrial.protocol.control import Command, CommandKind, Receipt, Refusal
from flashtrial.protocol.records import Batch, encode_batches, encode_record
from flashtrial.protocol.trials import ExperimentReport, ExperimentStatus, TrialReport, TrialStatus

KNOWN_KEYS = {"lr"}
AFTER = {
    CommandKind.STOP: (TrialStatus.RUNNING, TrialStatus.STOPPED),
    CommandKind.RESUME: (TrialStatus.STOPPED, TrialStatus.RUNNING),
}


class Ledger:
    """Lines of JSON that are there after any death."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, line: dict[str, Any]) -> None:
        with self._path.open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self._path.read_bytes().splitlines()] if self._path.exists() else []


@dataclass
class Controller:
    home: Path
    port_file: Path
    experiment: str
    dies_at: str
    id: str = field(default_factory=lambda: new_id("ctl"))
    number: int = 0
    epoch: int = 0
    seq: int = 0

    def __post_init__(self) -> None:
        self.decided, self.deeds = Ledger(self.home / "decisions"), Ledger(self.home / "deeds")

    def ask(self, method: str, path: str, body: object | None = None) -> urllib3.BaseHTTPResponse:
        """Asks until there is an answer: servers die, and come back on other ports."""
        with urllib3.PoolManager(retries=False, timeout=20) as pool:
            while True:
                try:
                    url = f"http://127.0.0.1:{self.port_file.read_text()}{path}"
                    answer = pool.request(method, url, json=body) if body is not None else pool.request(method, url)
                except (OSError, urllib3.exceptions.HTTPError):
                    threading.Event().wait(0.05)
                    continue
                if answer.status != 503:
                    return answer

    def life(self) -> None:
        post = self.ask("POST", "/api/v1/experiments", {"name": self.experiment, "controller_id": self.id}).json()
        self.number, self.epoch = post["experiment"], post["epoch"]
        if not self.deeds.lines():
            self.deeds.add({"run_id": self.new_run_id(), "status": TrialStatus.RUNNING, "command": None})
        self.report()
        settled = {deed["command"] for deed in self.deeds.lines()}
        for line in self.decided.lines():  # of a life before, whose receipts may have arrived or not
            if line["command"]["id"] not in settled:
                self.settle(line)
        after = 0
        while True:
            path = f"/api/v1/experiments/{self.number}/inbox?epoch={self.epoch}&after={after}&wait_s=10"
            answer = self.ask("GET", path)
            if answer.status == 409:
                sys.exit(7)
            for command in answer.json()["commands"]:
                self.die_at("inbox")
                self.settle(self.decision(command))
            after = answer.json()["next"]

    def decision(self, fields: dict[str, Any]) -> dict[str, Any]:
        for line in self.decided.lines():
            if line["command"]["id"] == fields["id"]:
                return line
        line = {"command": fields, "receipt": self.judged(Command.of(fields)).wire()}
        self.decided.add(line)
        self.die_at("decision")
        return line

    def judged(self, command: Command) -> Receipt:
        status = self.trials().get(command.run_id)
        if status is None:
            return Receipt(command.id, 0, Refusal.UNKNOWN_TRIAL, "there is no such run")
        if command.kind is CommandKind.CLONE_MODIFY:
            if not KNOWN_KEYS.issuperset(command.config or {}):
                return Receipt(command.id, 0, Refusal.INVALID, f"known are {sorted(KNOWN_KEYS)}")
            return Receipt(command.id, 0, new_run_id=self.new_run_id())
        before = AFTER[command.kind][0] if command.kind in AFTER else status
        if status is not before or status is TrialStatus.DELETED:
            return Receipt(command.id, 0, Refusal.ILLEGAL, f"it is {status}")
        return Receipt(command.id, 0)

    def settle(self, line: dict[str, Any]) -> None:
        receipt = {**line["receipt"], "epoch": self.epoch}
        answer = self.ask("POST", f"/api/v1/experiments/{self.number}/receipts", receipt)
        if answer.status == 409 and answer.json()["error"] == "superseded":
            sys.exit(7)
        self.die_at("receipt")
        if answer.status == 200 and receipt["refusal"] is None:
            self.carry_out(Command.of(line["command"]), receipt["new_run_id"])

    def carry_out(self, command: Command, new_run_id: int | None) -> None:
        if any(deed["command"] == command.id for deed in self.deeds.lines()):
            return
        status = AFTER[command.kind][1] if command.kind in AFTER else TrialStatus.DELETED
        if command.kind is CommandKind.CLONE_MODIFY:
            self.deeds.add({"run_id": new_run_id, "status": TrialStatus.RUNNING, "command": command.id})
        else:
            self.deeds.add({"run_id": command.run_id, "status": status, "command": command.id})
        self.report()

    def trials(self) -> dict[int, TrialStatus]:
        return {deed["run_id"]: TrialStatus(deed["status"]) for deed in self.deeds.lines()}

    def new_run_id(self) -> int:
        body = {"epoch": self.epoch}
        answer = self.ask("POST", f"/api/v1/experiments/{self.number}/run-ids", body)
        if answer.status == 409:
            sys.exit(7)
        return int(answer.json()["first"])

    def report(self) -> None:
        """Everything, whole: also what a life before this one reported."""
        bodies = [ExperimentReport(self.experiment, self.epoch, self.seq + 1, ExperimentStatus.RUNNING).body()]
        for run_id, status in self.trials().items():
            tracked = f"{self.experiment}/{run_id}"
            report = TrialReport(self.experiment, run_id, self.epoch, self.seq + 1, status, tracked_run=tracked)
            bodies.append(report.body())
        first, self.seq = self.seq + 1, self.seq + len(bodies)
        frames = b"".join(encode_record(first + place, "data", 1, body) for place, body in enumerate(bodies))
        body = encode_batches([Batch(f"{self.experiment}/controller", self.id, frames)])
        self.send(body)

    def send(self, body: bytes) -> None:
        while True:
            try:
                url = f"http://127.0.0.1:{self.port_file.read_text()}/api/v1/ingest"
                headers = {"Content-Type": "application/msgpack"}
                if urllib3.request("POST", url, body=body, headers=headers, retries=False, timeout=20).status == 200:
                    return
            except (OSError, urllib3.exceptions.HTTPError):
                threading.Event().wait(0.05)

    def die_at(self, point: str) -> None:
        if self.dies_at == point:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Controller(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], (*sys.argv, "")[4]).life()
