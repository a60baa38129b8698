"""Clients that nobody here wrote, and the server that they speak to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.neighbours import interpreter_with
from testkit.tracking_server import TrackingClient, tracking_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TrackingClient]:
    with tracking_server(tmp_path / "server-home") as client:
        yield client


@pytest.fixture(scope="session")
def pluto_python(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the real pluto-ml."""
    return interpreter_with("pluto", tmp_path_factory.mktemp("pluto") / "venv")


@pytest.fixture(scope="session")
def mlflow_python(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the whole of MLflow, its server too."""
    return interpreter_with("mlflow-server", tmp_path_factory.mktemp("mlflow") / "venv")
