"""The variables that point clients at an instance."""

from pathlib import Path

import pytest

from flashtrial.cli import environment

URL = "http://127.0.0.1:8787"


def test_local_variables_are_those_the_stock_sdk_reads() -> None:
    assert environment.local(URL, "secret") == {
        "FLASHTRIAL_URL": URL,
        "RUNPOD_API_KEY": "secret",
        "FLASH_IS_LIVE_PROVISIONING": "true",
        "RUNPOD_FLASH_SILENCE_DEPRECATION": "1",
        "RUNPOD_API_BASE_URL": URL,
        "RUNPOD_ENDPOINT_BASE_URL": f"{URL}/v2",
        "RUNPOD_REST_API_URL": f"{URL}/v1",
        "RUNPOD_HAPI_URL": URL,
        "RUNPOD_CONSOLE_URL": URL,
    }


def test_a_script_inherits_the_rest_but_not_the_marks_of_a_worker() -> None:
    inherited = {"PATH": "/bin", "RUNPOD_ENDPOINT_ID": "abc", "RUNPOD_POD_ID": "p", "RUNPOD_API_KEY": "of the cloud"}
    given = environment.for_script(URL, "secret", inherited)
    assert given["PATH"] == "/bin"
    assert given["RUNPOD_API_KEY"] == "secret"
    assert "RUNPOD_ENDPOINT_ID" not in given
    assert "RUNPOD_POD_ID" not in given


def test_the_sdks_deprecations_are_quiet_unless_the_user_asks_for_warnings() -> None:
    quiet = environment.for_script(URL, "secret", {})["PYTHONWARNINGS"]
    assert quiet == "ignore:runpod_flash.:DeprecationWarning"
    assert environment.for_script(URL, "secret", {"PYTHONWARNINGS": "error"})["PYTHONWARNINGS"] == f"{quiet},error"


def test_the_cloud_needs_every_local_address_unset() -> None:
    cloud = environment.cloud()
    assert cloud["FLASH_IS_LIVE_PROVISIONING"] == "true"
    unset = {name for name, value in cloud.items() if value is None}
    assert unset == {name for name, value in environment.local(URL, "k").items() if URL in value} - {"FLASHTRIAL_URL"}


def test_shell_lines_quote_what_a_shell_would_expand() -> None:
    assert environment.as_shell({"A": "it's $HOME", "B": None}) == "export A='it'\"'\"'s $HOME'\nunset B"


def test_a_missing_key_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(environment.NoKey, match="flashtrial up"):
        environment.read_key(tmp_path)
