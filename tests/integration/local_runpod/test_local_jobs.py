"""Jobs through the real routes and the real worker loop: every way in which one ends."""

import os
import signal
from pathlib import Path

import pytest

from testkit import wait_until

from .conftest import Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def test_a_job_is_answered_by_a_process_of_its_own(instance: Instance, endpoint_id: str) -> None:
    job_id = instance.run(endpoint_id, do="who")
    answer = instance.until(endpoint_id, job_id, "COMPLETED")
    assert answer["output"]["pid"] != os.getpid()
    assert answer["output"]["session"] == answer["output"]["pid"]
    assert Path(answer["output"]["cwd"]).parent == instance.home / "workers"
    assert answer["workerId"]
    assert isinstance(answer["delayTime"], int)
    assert isinstance(answer["executionTime"], int)


def test_input_and_output_come_through_byte_for_byte(instance: Instance, endpoint_id: str) -> None:
    odd = '{"do": "echo", "text": "é\\u0000\\u20ac", "big": 123456789012345678901234567890, "float": 1e-320}'
    answer = instance.client.post(f"/v2/{endpoint_id}/runsync", content=f'{{"input": {odd}}}'.encode())
    output = answer.json()["output"]
    assert output["text"] == "é\0€"
    assert output["big"] == 123456789012345678901234567890
    assert output["float"] == 1e-320


def test_runsync_waits_for_the_answer(instance: Instance, endpoint_id: str) -> None:
    answer = instance.client.post(f"/v2/{endpoint_id}/runsync", json={"input": {"do": "echo", "x": 1}}).json()
    assert answer["status"] == "COMPLETED"
    assert answer["output"] == {"do": "echo", "x": 1}


def test_a_status_that_is_held_open_returns_at_the_end_of_the_job(instance: Instance, endpoint_id: str) -> None:
    job_id = instance.run(endpoint_id, do="who", for_s=1)
    answer = instance.status(endpoint_id, job_id, wait_ms=20_000)
    assert answer["status"] == "COMPLETED"


def test_an_error_of_the_handler_ends_up_at_job_level(instance: Instance, endpoint_id: str) -> None:
    answer = instance.until(endpoint_id, instance.run(endpoint_id, do="fail"), "FAILED")
    assert answer["error"] == "it is broken"
    assert answer["output"]["stdout"] == "what it printed"


def test_an_exception_of_the_handler_fails_the_job_with_its_traceback(instance: Instance, endpoint_id: str) -> None:
    answer = instance.until(endpoint_id, instance.run(endpoint_id, do="no_such_act"), "FAILED")
    assert "no_such_act" in answer["error"]


def test_a_result_with_nan_is_kept(instance: Instance, endpoint_id: str) -> None:
    answer = instance.until(endpoint_id, instance.run(endpoint_id, do="not_a_number"), "COMPLETED")
    assert str(answer["output"]["loss"]) == "nan"


def test_cancelling_a_running_job_stops_its_task_in_the_worker(instance: Instance, endpoint_id: str) -> None:
    job_id = instance.run(endpoint_id, do="wait", mark="cancelled-one")
    worker_id = instance.until(endpoint_id, job_id, "IN_PROGRESS")["workerId"]
    assert instance.client.post(f"/v2/{endpoint_id}/cancel/{job_id}").json()["status"] == "CANCELLED"
    log = instance.home / "logs" / f"worker-{worker_id}.log"
    wait_until(lambda: "stopped cancelled-one" in log.read_text(), 15, "the task to be cancelled")
    again = instance.client.post(f"/v2/{endpoint_id}/cancel/{job_id}").json()
    assert again["status"] == "CANCELLED"
    assert "cancelled" in again["error"]


def test_cancelling_an_ended_job_changes_nothing(instance: Instance, endpoint_id: str) -> None:
    job_id = instance.run(endpoint_id, do="echo")
    instance.until(endpoint_id, job_id, "COMPLETED")
    assert instance.client.post(f"/v2/{endpoint_id}/cancel/{job_id}").json()["status"] == "COMPLETED"


def test_a_job_past_its_timeout_is_failed_and_stopped(instance: Instance, endpoint_id: str) -> None:
    body = {"input": {"do": "wait", "mark": "too-long"}, "policy": {"executionTimeout": 300}}
    job_id = instance.client.post(f"/v2/{endpoint_id}/run", json=body).json()["id"]
    answer = instance.until(endpoint_id, job_id, "FAILED")
    assert "execution timeout of 300 ms" in answer["error"]
    assert answer["output"]["error_kind"] == "timeout"
    log = instance.home / "logs" / f"worker-{answer['workerId']}.log"
    wait_until(lambda: "stopped too-long" in log.read_text(), 15, "the task to be cancelled")


def test_the_timeout_of_the_endpoint_counts_for_its_jobs(instance: Instance) -> None:
    endpoint_id = instance.save_endpoint("hasty", executionTimeoutMs=200)
    answer = instance.until(endpoint_id, instance.run(endpoint_id, do="wait"), "FAILED")
    assert "execution timeout of 200 ms" in answer["error"]


def test_progress_is_shown_and_is_no_end(instance: Instance, endpoint_id: str) -> None:
    job_id = instance.run(endpoint_id, do="progress")
    output = wait_until(lambda: instance.status(endpoint_id, job_id).get("output"), 30, "the progress")
    assert output == {"half": True}
    assert instance.status(endpoint_id, job_id)["status"] == "IN_PROGRESS"
    instance.client.post(f"/v2/{endpoint_id}/cancel/{job_id}")


def test_chunks_are_streamed_once_and_in_order(instance: Instance, endpoint_id: str) -> None:
    job_id = instance.run(endpoint_id, do="stream")
    seen, status = [], ""
    while status != "COMPLETED":
        answer = instance.client.get(f"/v2/{endpoint_id}/stream/{job_id}").json()
        seen += answer["stream"]
        status = answer["status"] if not answer["stream"] else ""
    assert seen == [{"output": 0}, {"output": 1}, {"output": 2}]


def test_a_result_over_the_limit_is_a_failure_that_says_so(instance: Instance, endpoint_id: str) -> None:
    job_id = instance.run(endpoint_id, do="large", size=11 * 1024 * 1024)
    answer = instance.until(endpoint_id, job_id, "FAILED", 60)
    assert "more than the 10 MB" in answer["error"]


def test_a_large_result_under_the_limit_comes_through(instance: Instance, endpoint_id: str) -> None:
    job_id = instance.run(endpoint_id, do="large", size=9 * 1024 * 1024)
    assert len(instance.until(endpoint_id, job_id, "COMPLETED")["output"]["text"]) == 9 * 1024 * 1024


def test_twice_as_much_comes_through_where_the_client_waits_for_it(instance: Instance, endpoint_id: str) -> None:
    job = {"input": {"do": "large", "size": 15 * 1024 * 1024}}
    answer = instance.client.post(f"/v2/{endpoint_id}/runsync", json=job, timeout=60).json()
    assert len(answer["output"]["text"]) == 15 * 1024 * 1024
    job["input"]["size"] = 21 * 1024 * 1024
    answer = instance.client.post(f"/v2/{endpoint_id}/runsync", json=job, timeout=60).json()
    assert "more than the 20 MB" in answer["error"]


def test_a_worker_killed_in_mid_job_fails_the_job_and_the_next_one_works(instance: Instance, endpoint_id: str) -> None:
    waiting = instance.run(endpoint_id, do="wait")
    instance.until(endpoint_id, waiting, "IN_PROGRESS")
    pid = instance.until(endpoint_id, instance.run(endpoint_id, do="who"), "COMPLETED")["output"]["pid"]
    os.kill(pid, signal.SIGKILL)
    answer = instance.until(endpoint_id, waiting, "FAILED", 5)
    assert answer["error"].startswith("worker lost: its process was ended by signal 9 (SIGKILL)")
    assert answer["output"]["error_kind"] == "worker_lost"
    next_pid = instance.until(endpoint_id, instance.run(endpoint_id, do="who"), "COMPLETED")["output"]["pid"]
    assert next_pid != pid


def test_a_failed_job_can_be_tried_again(instance: Instance, endpoint_id: str) -> None:
    job_id = instance.run(endpoint_id, do="fail")
    instance.until(endpoint_id, job_id, "FAILED")
    assert instance.client.post(f"/v2/{endpoint_id}/retry/{job_id}").json()["status"] == "IN_QUEUE"
    instance.until(endpoint_id, job_id, "FAILED")
    assert instance.client.get(f"/v2/{endpoint_id}/health").json()["jobs"]["retried"] == 1


def test_a_job_that_did_not_fail_cannot_be_tried_again(instance: Instance, endpoint_id: str) -> None:
    job_id = instance.run(endpoint_id, do="echo")
    instance.until(endpoint_id, job_id, "COMPLETED")
    answer = instance.client.post(f"/v2/{endpoint_id}/retry/{job_id}")
    assert answer.status_code == 400
    assert "COMPLETED" in answer.json()["error"]


def test_what_a_worker_printed_is_its_pods_log(instance: Instance, endpoint_id: str) -> None:
    job_id = instance.run(endpoint_id, do="echo")
    worker_id = instance.until(endpoint_id, job_id, "COMPLETED")["workerId"]
    answer = instance.client.get(f"/v1/pod/{worker_id}/logs").json()
    assert any("Starting Serverless Worker" in line for line in answer["container"])
    assert answer["system"] == []


def test_the_log_of_a_pod_is_no_way_to_other_files(instance: Instance) -> None:
    for name in ("..", "..%2F..%2Fkey", "%2e%2e%2fkey", "no_such_worker"):
        answer = instance.client.get(f"/v1/pod/{name}/logs")
        assert answer.status_code == 404 or answer.json() == {"container": [], "system": []}
