"""A server that waits only a moment for receipts, and an experiment on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.control import Experiment, begun
from testkit.tracking_server import TrackingClient, tracking_server

PATIENT_S = 0.05


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingClient]:
    """One for all tests of a module, which have experiments of their own in it."""
    with tracking_server(tmp_path_factory.mktemp("control") / "home", receipt_wait_s=PATIENT_S) as client:
        yield client


@pytest.fixture
def experiment(server: TrackingClient, request: pytest.FixtureRequest) -> Experiment:
    """A running experiment of this test's name."""
    return begun(server, request.node.name)


@pytest.fixture(scope="module")
def patient_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingClient]:
    """As `server`, waiting for receipts as long as the real one: for tests in which they come."""
    with tracking_server(tmp_path_factory.mktemp("patient") / "home") as client:
        yield client


@pytest.fixture
def controlled(patient_server: TrackingClient, request: pytest.FixtureRequest) -> Experiment:
    """A running experiment of this test's name, for a controller that answers."""
    return begun(patient_server, request.node.name)


@pytest.fixture
def own_server(flashtrial_home: Path) -> Iterator[TrackingClient]:
    """One that waits for receipts as long as the real one, and knows nothing yet."""
    with tracking_server(flashtrial_home) as client:
        yield client
