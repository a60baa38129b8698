"""What the command line makes of arguments, without starting anything."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import flashtrial
from flashtrial.cli import doctor, script
from flashtrial.cli.main import app
from flashtrial.cli.up_options import UpOptions, is_loopback

COMMANDS = ["up", "down", "status", "env", "run", "worker", "ping", "runs", "verify", "sync", "doctor"]


def test_help_lists_every_command() -> None:
    text = CliRunner().invoke(app, ["--help"]).output
    assert [name for name in COMMANDS if name not in text] == []


def test_version_is_the_packages() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"flashtrial {flashtrial.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["up", "--port", "eighty"],
        ["up", "--port", "70000"],
        ["up", "--workers", "0"],
        ["verify"],
        ["run"],
    ],
)
def test_bad_arguments_are_usage_errors(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["status", "env"])
def test_what_needs_an_instance_says_how_to_get_one(command: str, flashtrial_home: Path) -> None:
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 1
    assert (
        result.stderr == f"flashtrial: no instance runs in {flashtrial_home}: start one with `flashtrial up --detach`\n"
    )


READS_HOME = ["status", "down", "runs", "verify r", "ping", "doctor", "env", "sync", "up --detach"]


@pytest.mark.parametrize("command", READS_HOME)
@pytest.mark.parametrize("home", ["/" + "x" * 300, "~nobody-has-this-name/home"])
def test_a_home_that_no_file_system_can_hold_is_one_line(
    command: str, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASHTRIAL_HOME", home)
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert "FLASHTRIAL_HOME" in result.output


@pytest.mark.parametrize("command", [["runs"], ["verify", "r"]])
def test_a_database_that_is_none_is_one_line(command: list[str], flashtrial_home: Path) -> None:
    flashtrial_home.mkdir()
    (flashtrial_home / "server.db").write_bytes(b"this is no database, but it is long enough to be looked at" * 40)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert "file is not a database" in result.stderr


def test_down_without_an_instance_is_no_error(flashtrial_home: Path) -> None:
    result = CliRunner().invoke(app, ["down"])
    assert result.exit_code == 0
    assert result.output == f"no instance runs in {flashtrial_home}\n"


def test_a_missing_script_starts_nothing(flashtrial_home: Path) -> None:
    result = CliRunner().invoke(app, ["run", "no_such.py"])
    assert result.exit_code == 1
    assert "no_such.py is missing" in result.stderr
    assert not flashtrial_home.exists()


def test_a_directory_is_no_script(tmp_path: Path) -> None:
    with pytest.raises(script.NoSuchScript, match="a directory"):
        script.command(tmp_path, [])


def test_a_script_keeps_its_own_options() -> None:
    assert script.command(Path(__file__), ["--json", "-x"]) == [sys.executable, __file__, "--json", "-x"]


def test_a_detached_instance_is_asked_for_the_same() -> None:
    options = UpOptions("0.0.0.0", 9000, 2, runpod=False)
    assert options.arguments() == ["--host", "0.0.0.0", "--port", "9000", "--workers", "2", "--no-runpod"]


@pytest.mark.parametrize(
    ("host", "only_here"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, only_here: bool) -> None:
    assert is_loopback(host) is only_here


def test_the_doctor_looks_without_making_a_home(flashtrial_home: Path) -> None:
    found = {finding.name: finding for finding in doctor.examine(flashtrial_home)}
    assert found["flashtrial"].value == flashtrial.__version__
    assert found["instance"].value == "none runs"
    assert found["home"].ok
    assert not flashtrial_home.exists()


def test_the_doctor_finds_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    found = {finding.name: finding for finding in doctor.examine(blocked / "home")}
    assert not found["home"].ok
