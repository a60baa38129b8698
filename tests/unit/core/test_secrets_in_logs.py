"""Secrets of the environment never stand in our log."""

import json
import logging
import sys

import pytest
from runpod_flash.logger import SensitiveDataFilter

from flashtrial.core.log import FORMAT, JsonLines, MaskSecrets
from flashtrial.core.masking import MASK


def logged(message: str, *arguments: object) -> str:
    record = logging.LogRecord("flashtrial", logging.INFO, "", 0, message, arguments, None)
    assert MaskSecrets().filter(record)
    return record.getMessage()


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "RUNPOD_API_KEY", "my_password", "AWS_SECRET", "AWS_ACCESS_KEY_ID", "DB_PWD"]
)
def test_the_value_of_a_variable_that_is_a_secret_by_name_is_masked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "hf_abcdefghijkl")
    assert logged("downloading with %s", "hf_abcdefghijkl") == f"downloading with {MASK}"


def test_other_variables_and_short_values_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREETING", "hello there")
    monkeypatch.setenv("SORT_KEY", "name")
    monkeypatch.setenv("PWD", "/home/me/training")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/home/me/google.json")
    said = "hello there, by name in /home/me/training with /home/me/google.json"
    assert logged(said) == said


def test_a_secret_of_several_lines_is_masked_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_PRIVATE_KEY", "first line of it\nsecond line\n")
    assert logged("second line") == MASK


def test_a_secret_that_begins_another_does_not_uncover_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "secret-123")
    monkeypatch.setenv("B_TOKEN", "secret-123-and-more")
    assert logged("it is secret-123-and-more") == f"it is {MASK}"


def of_failure(secret: str) -> logging.LogRecord:
    """The record of an error whose words hold `secret`."""
    try:
        raise ValueError(f"refused: {secret}")
    except ValueError:
        return logging.LogRecord("flashtrial", logging.ERROR, "", 0, "a chore failed", (), sys.exc_info())


@pytest.mark.parametrize("formatter", [logging.Formatter(FORMAT), JsonLines()], ids=["plain", "json"])
@pytest.mark.parametrize("filters", [[], [SensitiveDataFilter]], ids=["alone", "after-runpod_flash"])
def test_a_traceback_is_kept_without_the_secrets_in_it(
    formatter: logging.Formatter, filters: list[type[logging.Filter]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijkl")
    record = of_failure("hf_abcdefghijkl")
    for kind in [*filters, MaskSecrets]:
        assert kind().filter(record)
    line = formatter.format(record)
    said = json.loads(line)["error"] if isinstance(formatter, JsonLines) else line
    assert "Traceback" in said
    assert f"ValueError: refused: {MASK}" in said
