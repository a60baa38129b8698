"""What a second life of the instance finds of the first."""

import os
from pathlib import Path

import psutil
import pytest

from flashtrial.core import env
from testkit import wait_until

from .conftest import TINY_WORKER, Instance, MakeInstance, Server, client_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def test_a_restart_keeps_endpoints_and_answers_and_fails_what_ran(tmp_path: Path, make_instance: MakeInstance) -> None:
    home = tmp_path / "home"
    server = Server(home, TINY_WORKER, env.snapshot() | {"FLASHTRIAL_CONCURRENCY": "2"}, max_workers=1)
    server.start()
    with client_of(server) as client:
        first = Instance(home, server.url, server.key, client)
        endpoint_id = first.save_endpoint("kept", workersMax=1, idleTimeout=30)
        finished = first.run(endpoint_id, do="who")
        pid = first.until(endpoint_id, finished, "COMPLETED")["output"]["pid"]
        running = [first.run(endpoint_id, do="wait") for _ in range(2)]
        for job_id in running:
            first.until(endpoint_id, job_id, "IN_PROGRESS")
        waiting = first.run(endpoint_id, do="echo", mark=7)
    server.stop()
    assert not psutil.pid_exists(pid)

    second = make_instance(home=home)
    assert second.key == first.key
    assert second.status(endpoint_id, finished)["output"]["pid"] == pid
    for job_id in running:
        answer = second.status(endpoint_id, job_id)
        assert answer["status"] == "FAILED"
        assert "flashtrial was stopped" in answer["error"]
    assert second.until(endpoint_id, waiting, "COMPLETED")["output"]["mark"] == 7
    described = second.client.post("/graphql", json={"query": "{ myself { endpoints { name idleTimeout } } }"}).json()
    assert described["data"]["myself"]["endpoints"] == [{"name": "kept", "idleTimeout": 30}]


def test_a_worker_that_is_killed_takes_its_helpers_with_it(instance: Instance, endpoint_id: str) -> None:
    pid = instance.until(endpoint_id, instance.run(endpoint_id, do="who"), "COMPLETED")["output"]["pid"]
    helpers = wait_until(lambda: psutil.Process(pid).children(recursive=True), 20, "the ping process")
    os.kill(pid, 9)
    wait_until(lambda: not any(helper.is_running() for helper in helpers), 10, "the helpers to end")
