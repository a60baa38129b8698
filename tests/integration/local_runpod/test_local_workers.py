"""Workers: started when jobs come, several where allowed, ended when idle, replaced, reaped with the instance."""

import sys
from pathlib import Path

import psutil
import pytest

from testkit import wait_until

from .conftest import Instance, MakeInstance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def test_no_worker_runs_before_a_job_comes_and_none_long_after(make_instance: MakeInstance) -> None:
    instance = make_instance()
    endpoint_id = instance.save_endpoint("brief", idleTimeout=1)
    assert instance.workers(endpoint_id)["initializing"] == 0
    answer = instance.until(endpoint_id, instance.run(endpoint_id, do="who"), "COMPLETED")
    wait_until(lambda: not psutil.pid_exists(answer["output"]["pid"]), 20, "the idle worker to end")
    assert sum(instance.workers(endpoint_id).values()) == 0
    assert not Path(answer["output"]["cwd"]).exists()


def test_two_workers_of_one_endpoint_both_take_jobs(instance: Instance) -> None:
    endpoint_id = instance.save_endpoint("pair", workersMax=2)
    jobs = [instance.run(endpoint_id, do="wait") for _ in range(2)]
    workers = {instance.until(endpoint_id, job_id, "IN_PROGRESS")["workerId"] for job_id in jobs}
    assert len(workers) == 2
    for job_id in jobs:
        instance.client.post(f"/v2/{endpoint_id}/cancel/{job_id}")


def test_one_worker_takes_several_jobs_at_once_where_it_is_the_only_one(instance: Instance, endpoint_id: str) -> None:
    jobs = [instance.run(endpoint_id, do="wait") for _ in range(8)]
    workers = {instance.until(endpoint_id, job_id, "IN_PROGRESS")["workerId"] for job_id in jobs}
    assert len(workers) == 1
    for job_id in jobs:
        instance.client.post(f"/v2/{endpoint_id}/cancel/{job_id}")


def test_queues_of_two_endpoints_do_not_mix(instance: Instance, endpoint_id: str) -> None:
    other = instance.save_endpoint("other")
    job_id = instance.run(other, do="environment")
    assert instance.until(other, job_id, "COMPLETED")["output"]["RUNPOD_ENDPOINT_ID"] == other
    assert instance.client.get(f"/v2/{endpoint_id}/status/{job_id}").status_code == 404


def test_a_worker_knows_what_it_needs_and_its_templates_variables(make_instance: MakeInstance) -> None:
    instance = make_instance(WHERE_FROM="base", BOTH="base")
    template = {"name": "t", "imageName": "i", "env": [{"key": "BOTH", "value": "template"}]}
    endpoint_id = instance.save_endpoint("environment", template=template)
    output = instance.until(endpoint_id, instance.run(endpoint_id, do="environment"), "COMPLETED")["output"]
    assert output["WHERE_FROM"] == "base"
    assert output["BOTH"] == "template"
    assert output["RUNPOD_AI_API_KEY"] == instance.key
    assert output["FLASHTRIAL_HOME"] == str(instance.home)
    assert output["FLASHTRIAL_URL"] == instance.url


def test_workers_are_replaced_when_their_variables_change(instance: Instance) -> None:
    def template(value: str) -> dict[str, object]:
        return {"name": "t", "imageName": "i", "env": [{"key": "COLOUR", "value": value}]}

    endpoint_id = instance.save_endpoint("painted", template=template("red"))
    first = instance.until(endpoint_id, instance.run(endpoint_id, do="environment"), "COMPLETED")
    instance.save_endpoint("painted", template=template("blue"))
    second = instance.until(endpoint_id, instance.run(endpoint_id, do="environment"), "COMPLETED")
    assert (first["output"]["COLOUR"], second["output"]["COLOUR"]) == ("red", "blue")


def test_a_worker_that_asks_for_it_is_replaced(instance: Instance, endpoint_id: str) -> None:
    first = instance.until(endpoint_id, instance.run(endpoint_id, do="refresh"), "COMPLETED")["output"]["pid"]
    wait_until(lambda: not psutil.pid_exists(first), 20, "the worker to leave")
    second = instance.until(endpoint_id, instance.run(endpoint_id, do="who"), "COMPLETED")["output"]["pid"]
    assert first != second


def test_purging_cancels_what_waits_and_leaves_what_runs(make_instance: MakeInstance) -> None:
    instance = make_instance(FLASHTRIAL_CONCURRENCY="1")
    endpoint_id = instance.save_endpoint("purged")
    running = instance.run(endpoint_id, do="wait")
    instance.until(endpoint_id, running, "IN_PROGRESS")
    waiting = [instance.run(endpoint_id, do="echo") for _ in range(3)]
    assert instance.client.post(f"/v2/{endpoint_id}/purge-queue").json() == {"removed": 3, "status": "completed"}
    assert {instance.status(endpoint_id, job_id)["status"] for job_id in waiting} == {"CANCELLED"}
    assert instance.status(endpoint_id, running)["status"] == "IN_PROGRESS"


def test_workers_that_never_start_fail_the_jobs_with_their_last_words(make_instance: MakeInstance) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such CUDA')")
    instance = make_instance(command=command)
    endpoint_id = instance.save_endpoint("broken")
    answer = instance.until(endpoint_id, instance.run(endpoint_id, do="echo"), "FAILED")
    assert "do not start" in answer["error"]
    assert "no such CUDA" in answer["error"]


def test_a_command_that_does_not_exist_fails_the_jobs_too(make_instance: MakeInstance) -> None:
    instance = make_instance(command=("/no/such/program",))
    endpoint_id = instance.save_endpoint("missing")
    answer = instance.until(endpoint_id, instance.run(endpoint_id, do="echo"), "FAILED")
    assert "/no/such/program cannot be run" in answer["error"]


def test_variables_that_make_no_sense_leave_no_job_waiting(make_instance: MakeInstance) -> None:
    instance = make_instance(command=("/no/such/program",))
    template = {"name": "t", "imageName": "i", "env": [{"key": "FLASHTRIAL_CONCURRENCY", "value": "9" * 5000}]}
    endpoint_id = instance.save_endpoint("absurd", template=template)
    answer = instance.until(endpoint_id, instance.run(endpoint_id, do="echo"), "FAILED", timeout_s=10)
    assert "/no/such/program cannot be run" in answer["error"]


def test_deleting_an_endpoint_ends_its_jobs_and_workers(instance: Instance) -> None:
    endpoint_id = instance.save_endpoint("doomed")
    pid = instance.until(endpoint_id, instance.run(endpoint_id, do="who"), "COMPLETED")["output"]["pid"]
    query = {"query": "mutation d($id: String!) { deleteEndpoint(id: $id) }", "variables": {"id": endpoint_id}}
    assert instance.client.post("/graphql", json=query).json() == {"data": {"deleteEndpoint": None}}
    assert instance.client.post(f"/v2/{endpoint_id}/run", json={"input": {}}).status_code == 404
    wait_until(lambda: not psutil.pid_exists(pid), 20, "the worker to end")
