"""A server of the test's own home."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.tracking_server import TrackingClient, tracking_server


@pytest.fixture(scope="module")
def standing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingClient]:
    """One server for a module's tests that leave no trace in it, or none that another would see."""
    with tracking_server(tmp_path_factory.mktemp("standing") / "home") as client:
        yield client


@pytest.fixture
def server(flashtrial_home: Path) -> Iterator[TrackingClient]:
    """A client of a running server whose database is ``server.db`` in the test's home."""
    with tracking_server(flashtrial_home) as client:
        yield client
