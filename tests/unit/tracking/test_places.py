"""Where a run can be looked at."""

import json
from pathlib import Path
from typing import Any

import pytest

from flashtrial.tracking.journal.routes import Destination
from flashtrial.tracking.journal.writer import RunWriter
from flashtrial.tracking.runs.places import destinations_of, page_of
from flashtrial.tracking.settings.credentials import keep
from flashtrial.tracking.settings.resolution import resolve

pytestmark = pytest.mark.unit


def writer(home: Path, **said: Any) -> RunWriter:
    """Of a run that is about to be opened."""
    return RunWriter("r/1", resolve({"home": home, **said}, {}, directory=home), {})


def test_the_page_stays_where_the_records_go_when_another_login_comes(tmp_path: Path) -> None:
    keep(tmp_path, "http://one", "t", use_keyring=False)
    opened = writer(tmp_path)
    keep(tmp_path, "http://two", "t", use_keyring=False)
    assert page_of(opened) == "http://one/runs/r%2F1"
    assert destinations_of(opened) == [Destination("native", "http://one")]


def test_the_page_moves_with_the_instance_of_the_home(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    (tmp_path / "instance.json").write_text(json.dumps({"url": "http://127.0.0.1:9"}))
    assert page_of(opened) == "http://127.0.0.1:9/runs/r%2F1"


def test_without_our_server_it_is_the_address_of_the_first_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ml")
    monkeypatch.delenv("PLUTO_URL_API", raising=False)
    assert page_of(writer(tmp_path, backends=["mlflow", "pluto"])) == "http://ml"
    assert page_of(writer(tmp_path, backends="pluto")).startswith("https://pluto-api.")
    assert destinations_of(writer(tmp_path, backends="pluto")) == [Destination("pluto")]


def test_a_password_in_the_address_of_another_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://joe:p@ss@hub.example/joe/x.mlflow?at=a@b")
    monkeypatch.setenv("PLUTO_URL_API", "https://joe@pluto.example:8")
    assert page_of(writer(tmp_path, backends="mlflow")) == "https://hub.example/joe/x.mlflow?at=a@b"
    assert page_of(writer(tmp_path, backends="pluto")) == "https://pluto.example:8"
