"""Settings: who wins, and what is refused."""

from pathlib import Path

import pytest

from flashtrial.core.errors import ConfigurationError
from flashtrial.tracking.settings.resolution import Courier, Settings, resolve

HOME = {"FLASHTRIAL_HOME": "/h"}


def test_arguments_win_over_settings_over_environment_over_defaults() -> None:
    environment = {**HOME, "FLASHTRIAL_PROJECT": "env"}
    assert resolve(Settings(project="set"), environment, project="arg").project == "arg"
    assert resolve(Settings(project="set"), environment).project == "set"
    assert resolve(None, environment).project == "env"
    assert resolve(None, HOME).project == "default"


def test_home_and_outbox_follow_each_other() -> None:
    assert resolve(None, HOME).outbox == Path("/h/outbox")
    assert resolve({"home": "/g"}, HOME).outbox == Path("/g/outbox")
    assert resolve(None, {**HOME, "FLASHTRIAL_OUTBOX": "/o"}).outbox == Path("/o")


def test_a_worker_syncs_for_its_children_and_nobody_waits() -> None:
    settings = resolve({"sync_process_enabled": True}, {**HOME, "FLASHTRIAL_WORKER_ID": "w1"})
    assert settings.courier is Courier.WORKER
    assert settings.finish_timeout_s == 0
    assert resolve(None, HOME).courier is Courier.PROCESS
    assert resolve(None, HOME).finish_timeout_s == 30


def test_the_environment_speaks_in_words() -> None:
    environment = {**HOME, "FLASHTRIAL_SYNC_PROCESS_ENABLED": "False", "FLASHTRIAL_FINISH_TIMEOUT_S": "1.5"}
    settings = resolve(None, environment)
    assert settings.courier is Courier.THREAD
    assert settings.finish_timeout_s == 1.5
    assert resolve({"sync_process_enabled": False}, HOME).finish_timeout_s == 30


@pytest.mark.parametrize(
    ("said", "environment", "message"),
    [
        ({"projekt": "x"}, {}, "projekt.*there are project"),
        ({"finish_timeout_s": "soon"}, {}, "finish_timeout_s"),
        ({"finish_timeout_s": -1}, {}, "finish_timeout_s"),
        ({"finish_timeout_s": float("nan")}, {}, "finish_timeout_s"),
        ({"sync_process_enabled": "no"}, {}, "sync_process_enabled"),
        (None, {"FLASHTRIAL_SYNC_PROCESS_ENABLED": "perhaps"}, "FLASHTRIAL_SYNC_PROCESS_ENABLED=perhaps"),
        (None, {"FLASHTRIAL_FINISH_TIMEOUT_S": "inf"}, "FLASHTRIAL_FINISH_TIMEOUT_S"),
        ({"url": "localhost:8787"}, {}, "http://host:port.*localhost:8787"),
        (None, {"FLASHTRIAL_URL": "http://[::1"}, "FLASHTRIAL_URL.*http://host:port"),
        (None, {"FLASHTRIAL_URL": "http://host:port"}, "http://host:port"),
        (None, {"FLASHTRIAL_URL": "ftp://host"}, "http://host:port"),
        (None, {"FLASHTRIAL_WHEN_FULL": "wait"}, "FLASHTRIAL_WHEN_FULL is one of drop, block, raise, not 'wait'"),
        (None, {"FLASHTRIAL_OUTBOX_BYTES": "5"}, "FLASHTRIAL_OUTBOX_BYTES.* is at least 8192, not 5"),
        (None, {"FLASHTRIAL_BACKENDS": "native,wandb"}, "FLASHTRIAL_BACKENDS is one or more of .*, not 'native,wandb'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    said: dict[str, object] | None, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        resolve(said, {**HOME, **environment})


def test_the_token_is_in_no_repr() -> None:
    assert "hunter2" not in repr(Settings(token="hunter2"))
    assert "hunter2" not in repr(resolve({"token": "hunter2"}, HOME))


def test_the_sync_process_is_told_what_was_said() -> None:
    settings = resolve({"url": "http://u/", "token": "t", "home": "/g"}, HOME)
    assert settings.sync_environment({"PATH": "/bin", "FLASHTRIAL_URL": "http://v"}) == {
        "PATH": "/bin",
        "FLASHTRIAL_HOME": "/g",
        "FLASHTRIAL_URL": "http://u/",
        "FLASHTRIAL_TOKEN": "t",
    }
