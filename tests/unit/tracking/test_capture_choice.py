"""Which parts a run gets: by its settings, and by what kind of process this is."""

import sys
from types import ModuleType

import pytest

from flashtrial.core.errors import ConfigurationError
from flashtrial.tracking.capture.companion import Companion
from flashtrial.tracking.capture.facts_thread import FactsThread
from flashtrial.tracking.capture.monitor import SystemMonitor
from flashtrial.tracking.capture.parts import capture_parts, console_is_safe
from flashtrial.tracking.settings.resolution import Settings, resolve


@pytest.mark.parametrize(
    ("environment", "settings", "kinds"),
    [
        ({}, {}, [SystemMonitor, Companion]),
        ({}, {"system_monitor": False}, [Companion]),
        ({}, {"facts": False}, [SystemMonitor]),
        ({}, {"facts": False, "console": True}, [SystemMonitor, Companion]),
        ({"FLASHTRIAL_SYSTEM_MONITOR": "off", "FLASHTRIAL_FACTS": "0"}, {}, []),
        ({"FLASHTRIAL_SYSTEM_MONITOR": "off", "FLASHTRIAL_FACTS": "0"}, {"facts": True}, [Companion]),
        ({"FLASHTRIAL_WORKER_ID": "w"}, {"console": True}, [SystemMonitor, FactsThread]),
        ({"FLASHTRIAL_WORKER_ID": "w"}, {"facts": False}, [SystemMonitor]),
    ],
)
def test_settings_choose_the_parts(environment: dict[str, str], settings: dict[str, bool], kinds: list[type]) -> None:
    assert [type(part) for part in capture_parts(resolve(settings, environment))] == kinds


def test_a_console_is_not_taken_under_pytest_nor_from_a_front_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not console_is_safe(), "this is pytest"
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    ipython = ModuleType("IPython")
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    ipython.__dict__["get_ipython"] = lambda: None
    assert console_is_safe(), "that somebody imported pytest or IPython says nothing"
    ipython.__dict__["get_ipython"] = object
    assert not console_is_safe()


def test_an_interval_that_would_burden_the_training_is_refused() -> None:
    assert resolve({"system_interval_s": 2}, {}).system_interval_s == 2.0
    assert resolve(None, {"FLASHTRIAL_SYSTEM_INTERVAL_S": "3"}).system_interval_s == 3.0
    with pytest.raises(ConfigurationError, match="system_interval_s"):
        resolve(Settings(system_interval_s=0.001), {})
    with pytest.raises(ConfigurationError, match="console"):
        resolve({"console": "perhaps"}, {})
