"""`up`, `down`, `status`, `ping`: the life of an instance as a user sees it."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from testkit import free_port, wait_until

from .conftest import Flashtrial


@pytest.fixture
def port() -> int:
    return free_port()


def up(cli: Flashtrial, port: int, *more: str) -> str:
    started = cli("up", "--detach", "--port", str(port), *more)
    assert started.returncode == 0, started.stderr + started.stdout
    return started.stdout


def test_a_detached_instance_answers_and_says_where(flashtrial_cli: Flashtrial, port: int) -> None:
    said = up(flashtrial_cli, port)
    assert f"http://127.0.0.1:{port}" in said
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        assert answer.status == 200
    status = flashtrial_cli("status")
    assert status.returncode == 0
    assert f"http://127.0.0.1:{port}  up" in status.stdout


def test_a_log_that_has_grown_large_is_set_aside(flashtrial_cli: Flashtrial, port: int) -> None:
    log = flashtrial_cli.home / "logs" / "server.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"an old line\n" * 500_000)
    up(flashtrial_cli, port)
    assert b"an old line" not in log.read_bytes()
    assert b"an old line" in log.with_name("server.log.1").read_bytes()


def test_a_second_up_says_that_the_first_runs_and_is_no_error(flashtrial_cli: Flashtrial, port: int) -> None:
    up(flashtrial_cli, port)
    first = flashtrial_cli.instance()
    again = up(flashtrial_cli, port)
    foreground = flashtrial_cli("up", "--port", str(port))
    assert f"already up: http://127.0.0.1:{port}" in again
    assert foreground.returncode == 0
    assert "already up" in foreground.stdout
    assert flashtrial_cli.instance() == first


def test_a_port_taken_by_another_program_is_passed_over_and_said(flashtrial_cli: Flashtrial) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken: int = other.getsockname()[1]
        said = up(flashtrial_cli, taken)
        assert f"port {taken} is taken by another program" in said
        assert flashtrial_cli.instance()["port"] != taken
        assert flashtrial_cli("ping").returncode == 0


def test_down_ends_the_process_and_takes_its_file_away(flashtrial_cli: Flashtrial, port: int) -> None:
    up(flashtrial_cli, port)
    pid = flashtrial_cli.instance()["pid"]
    down = flashtrial_cli("down")
    assert down.returncode == 0
    assert down.stdout == f"stopped the instance at http://127.0.0.1:{port} (pid {pid})\n"
    wait_until(lambda: not psutil.pid_exists(pid), what="the instance's end")
    assert not (flashtrial_cli.home / "instance.json").exists()
    assert "no instance runs" in flashtrial_cli("down").stdout


def test_down_kills_an_instance_that_does_not_listen_to_it(flashtrial_cli: Flashtrial, port: int) -> None:
    up(flashtrial_cli, port)
    pid = flashtrial_cli.instance()["pid"]
    os.kill(pid, signal.SIGSTOP)
    down = flashtrial_cli("down", "--grace", "1")
    assert down.returncode == 0
    assert f"killed the instance at http://127.0.0.1:{port} (pid {pid})" in down.stdout
    wait_until(lambda: not psutil.pid_exists(pid), what="the instance's end")


def test_the_file_of_a_killed_instance_is_stale(flashtrial_cli: Flashtrial, port: int) -> None:
    up(flashtrial_cli, port)
    os.kill(flashtrial_cli.instance()["pid"], signal.SIGKILL)
    wait_until(lambda: flashtrial_cli("status").returncode == 1, what="the status to see it")
    assert (flashtrial_cli.home / "instance.json").exists()
    said = up(flashtrial_cli, port)
    assert "is up" in said
    assert flashtrial_cli("ping").returncode == 0


def test_a_process_that_has_the_pid_of_a_dead_instance_is_left_alone(flashtrial_cli: Flashtrial, port: int) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            flashtrial_cli.home.mkdir()
            stale = {
                "pid": stranger.pid,
                "url": f"http://127.0.0.1:{port}",
                "port": port,
                "started_at_ms": 1,
                "version": "0",
            }
            (flashtrial_cli.home / "instance.json").write_text(json.dumps(stale))
            assert "no instance runs" in flashtrial_cli("down").stdout
            assert stranger.poll() is None
            up(flashtrial_cli, port)
            assert flashtrial_cli.instance()["pid"] != stranger.pid
        finally:
            stranger.kill()


def test_two_ups_at_once_make_one_instance(flashtrial_cli: Flashtrial, port: int) -> None:
    argv = flashtrial_cli.argv("up", "--detach", "--port", str(port))
    environment = flashtrial_cli.environment()
    both = [subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=50)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    pid = flashtrial_cli.instance()["pid"]
    assert all(f"pid {pid}" in text for text in said)


def test_ctrl_c_ends_a_foreground_instance_well(flashtrial_cli: Flashtrial, port: int) -> None:
    argv = flashtrial_cli.argv("up", "--port", str(port))
    with subprocess.Popen(argv, env=flashtrial_cli.environment(), stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: flashtrial_cli("status").returncode == 0, 40, "the instance")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    assert not (flashtrial_cli.home / "instance.json").exists()


def test_ctrl_c_before_it_serves_ends_it_well_too(flashtrial_cli: Flashtrial, port: int) -> None:
    argv = flashtrial_cli.argv("up", "--port", str(port))
    with subprocess.Popen(argv, env=flashtrial_cli.environment(), stderr=subprocess.PIPE, text=True) as process:
        wait_until((flashtrial_cli.home / "key").exists, 40, "the start")  # made just before the parts are started
        process.send_signal(signal.SIGTERM)
        complaint = process.communicate(timeout=20)[1]
        assert process.returncode == 0, complaint
    assert "Traceback" not in complaint


def test_an_open_event_stream_does_not_hold_the_end_up(flashtrial_cli: Flashtrial, port: int) -> None:
    up(flashtrial_cli, port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/events", timeout=20) as stream:
        down = flashtrial_cli("down", "--grace", "20")
        assert "stopped" in down.stdout, "not killed"
        stream.read()  # the end of the stream, and no error


def addresses_of_this_machine() -> list[str]:
    """Those of version 4, which need no brackets."""
    interfaces = psutil.net_if_addrs().values()
    return [each.address for interface in interfaces for each in interface if each.family == socket.AF_INET]


def test_off_loopback_the_api_needs_the_token_and_up_says_so(flashtrial_cli: Flashtrial, port: int) -> None:
    said = up(flashtrial_cli, port, "--host", "0.0.0.0")
    assert "flashtrial env" in said
    url = f"http://127.0.0.1:{port}/api/v1/runs"
    with pytest.raises(urllib.error.HTTPError, match=r"401|403"):
        urllib.request.urlopen(url, timeout=5)
    key = (flashtrial_cli.home / "key").read_text().strip()
    for name in ("127.0.0.1", *addresses_of_this_machine()):
        headers = {"Authorization": f"Bearer {key}", "Host": f"{name}:{port}"}
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            assert json.load(answer)["runs"] == []


def test_ping_says_each_part_that_is_down(flashtrial_cli: Flashtrial, port: int) -> None:
    nothing = flashtrial_cli("ping", "--json", FLASHTRIAL_URL=f"http://127.0.0.1:{port}")
    assert nothing.returncode == 1
    assert {part["up"] for part in json.loads(nothing.stdout).values()} == {False}
    up(flashtrial_cli, port)
    everything = flashtrial_cli("ping", "--json")
    assert {name: part["up"] for name, part in json.loads(everything.stdout).items()} == {
        "server": True,
        "dashboard": True,
        "local_runpod": True,
    }
    assert everything.returncode == 0


def test_ping_as_a_module_is_the_same(flashtrial_cli: Flashtrial, port: int) -> None:
    argv = [sys.executable, "-m", "flashtrial.ping", "--json"]
    environment = flashtrial_cli.environment({"FLASHTRIAL_URL": f"http://127.0.0.1:{port}"})
    answer = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert json.loads(answer.stdout)["server"]["up"] is False


def test_without_the_local_runpod_ping_does_not_ask_for_it(flashtrial_cli: Flashtrial, port: int) -> None:
    up(flashtrial_cli, port, "--no-runpod")
    answer = flashtrial_cli("ping", "--json")
    assert answer.returncode == 0
    assert set(json.loads(answer.stdout)) == {"server", "dashboard"}


def test_a_local_runpod_that_does_not_know_the_key_is_down(flashtrial_cli: Flashtrial, port: int) -> None:
    up(flashtrial_cli, port)
    (flashtrial_cli.home / "key").write_text("another")
    answer = flashtrial_cli("ping", "--json")
    assert answer.returncode == 1
    assert {name for name, part in json.loads(answer.stdout).items() if not part["up"]} == {"local_runpod"}


def test_an_instance_that_cannot_start_is_one_line_with_the_log(flashtrial_cli: Flashtrial, port: int) -> None:
    flashtrial_cli.home.mkdir()
    (flashtrial_cli.home / "server.db").write_bytes(b"this is no database, but it is long enough to be looked at" * 40)
    failed = flashtrial_cli("up", "--detach", "--port", str(port))
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "server.log" in failed.stderr


def test_a_host_of_another_machine_is_refused_in_one_line(flashtrial_cli: Flashtrial, port: int) -> None:
    failed = flashtrial_cli("up", "--host", "192.0.2.1", "--port", str(port))
    assert failed.returncode == 1
    assert "cannot listen on 192.0.2.1" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_full_disk_behind_standard_output_is_not_blamed_on_the_home(flashtrial_cli: Flashtrial) -> None:
    with Path("/dev/full").open("w") as full:
        failed = subprocess.run(
            flashtrial_cli.argv("runs", "--json"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=flashtrial_cli.environment(),
            check=False,
        )
    assert (failed.returncode, failed.stderr) == (1, "flashtrial: No space left on device\n")


def test_the_exports_point_a_shell_at_the_instance(flashtrial_cli: Flashtrial, port: int, tmp_path: Path) -> None:
    up(flashtrial_cli, port)
    script = tmp_path / "env.sh"
    script.write_text(flashtrial_cli("env").stdout + 'printf "%s %s" "$RUNPOD_ENDPOINT_BASE_URL" "$RUNPOD_API_KEY"\n')
    shown = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=True).stdout
    key = (flashtrial_cli.home / "key").read_text().strip()
    assert shown == f"http://127.0.0.1:{port}/v2 {key}"
    assert json.loads(flashtrial_cli("env", "--json").stdout)["FLASHTRIAL_URL"] == f"http://127.0.0.1:{port}"
