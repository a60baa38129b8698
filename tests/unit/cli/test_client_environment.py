"""The variables that point clients at an instance."""

from pathlib import Path

import pytest

from flashtrial.cli import environment

URL = "http://127.0.0.1:8787"
HOME = Path("/somewhere/home")


def test_local_variables_are_those_the_stock_sdk_reads() -> None:
    assert environment.local(URL, "secret") == {
        "FLASHTRIAL_URL": URL,
        "FLASHTRIAL_TOKEN": "secret",
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
    marks = {"RUNPOD_ENDPOINT_ID": "abc", "RUNPOD_POD_ID": "p"}
    inherited = {"PATH": "/bin", **marks, "RUNPOD_API_KEY": "of the cloud", "FLASHTRIAL_TOKEN": "of another server"}
    given = environment.for_script(URL, "secret", inherited, HOME)
    assert given["PATH"] == "/bin"
    assert given["RUNPOD_API_KEY"] == given["FLASHTRIAL_TOKEN"] == "secret"
    assert "RUNPOD_ENDPOINT_ID" not in given
    assert "RUNPOD_POD_ID" not in given


def test_no_proxy_is_asked_for_the_instance_and_what_was_excepted_stays_so() -> None:
    behind_one = {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "intranet, 10.0.0.1"}
    for given in (environment.for_script(URL, "k", behind_one, HOME), environment.for_shell(URL, "k", behind_one)):
        assert given["NO_PROXY"] == given["no_proxy"] == "intranet,10.0.0.1,127.0.0.1"
    again = environment.for_shell(URL, "k", environment.for_shell(URL, "k", {"no_proxy": "a", "NO_PROXY": "b"}))
    assert again["NO_PROXY"] == "a,b,127.0.0.1"


def test_a_script_that_changes_its_directory_keeps_its_home() -> None:
    assert environment.for_script(URL, "k", {"FLASHTRIAL_HOME": "relative"}, HOME)["FLASHTRIAL_HOME"] == str(HOME)


def test_a_shell_points_the_neighbours_clients_at_the_instance_and_a_script_is_left_its_own() -> None:
    given = environment.for_shell(URL, "k", {"MLFLOW_TRACKING_URI": "http://elsewhere"})
    assert given["PLUTO_URL_INGEST"] == given["PLUTO_URL_API"] == given["MLFLOW_TRACKING_URI"] == URL
    assert given["PLUTO_API_KEY"] == given["MLFLOW_TRACKING_TOKEN"] == "k"
    script = environment.for_script(URL, "k", {"MLFLOW_TRACKING_URI": "http://elsewhere"}, HOME)
    assert script["MLFLOW_TRACKING_URI"] == "http://elsewhere"
    assert "PLUTO_API_KEY" not in script


def test_the_sdks_deprecations_are_quiet_unless_the_user_asks_for_warnings() -> None:
    quiet = environment.for_script(URL, "secret", {}, HOME)["PYTHONWARNINGS"]
    assert quiet == "ignore:runpod_flash.:DeprecationWarning"
    asked = environment.for_script(URL, "secret", {"PYTHONWARNINGS": "error"}, HOME)["PYTHONWARNINGS"]
    assert asked == f"{quiet},error"


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
