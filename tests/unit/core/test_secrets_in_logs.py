"""Secrets of the environment never stand in our log."""

import logging

import pytest

from flashtrial.core.log import MaskSecrets
from flashtrial.core.masking import MASK


def logged(message: str, *arguments: object) -> str:
    record = logging.LogRecord("flashtrial", logging.INFO, "", 0, message, arguments, None)
    assert MaskSecrets().filter(record)
    return record.getMessage()


@pytest.mark.parametrize("name", ["HF_TOKEN", "RUNPOD_API_KEY", "my_password", "AWS_SECRET"])
def test_the_value_of_a_variable_that_is_a_secret_by_name_is_masked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "hf_abcdefghijkl")
    assert logged("downloading with %s", "hf_abcdefghijkl") == f"downloading with {MASK}"


def test_other_variables_and_short_values_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREETING", "hello there")
    monkeypatch.setenv("SORT_KEY", "name")
    assert logged("hello there, by %s", "name") == "hello there, by name"


def test_a_secret_that_begins_another_does_not_uncover_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "secret-123")
    monkeypatch.setenv("B_TOKEN", "secret-123-and-more")
    assert logged("it is secret-123-and-more") == f"it is {MASK}"
