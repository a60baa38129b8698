"""What an operator may set for installations."""

import pytest

from flashtrial.core.errors import ConfigurationError
from flashtrial.worker.install.install_settings import InstallSettings


def test_nothing_set_means_the_defaults() -> None:
    settings = InstallSettings.from_environment()
    assert (settings.deadline_s, settings.system_deadline_s) == (1200.0, 300.0)
    assert settings.layers_bytes == 20 * 1024**3
    assert settings.endpoint == ""


def test_variables_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHTRIAL_INSTALL_DEADLINE_S", "60")
    monkeypatch.setenv("FLASHTRIAL_SYSTEM_INSTALL_DEADLINE_S", "7.5")
    monkeypatch.setenv("FLASHTRIAL_LAYERS_BYTES", "1e9")
    monkeypatch.setenv("RUNPOD_ENDPOINT_ID", "ep1")
    settings = InstallSettings.from_environment()
    assert (settings.deadline_s, settings.system_deadline_s, settings.layers_bytes) == (60.0, 7.5, 10**9)
    assert settings.endpoint == "ep1"


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf"])
def test_what_is_no_number_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FLASHTRIAL_LAYERS_BYTES", value)
    with pytest.raises(ConfigurationError, match=f"FLASHTRIAL_LAYERS_BYTES={value}"):
        InstallSettings.from_environment()
