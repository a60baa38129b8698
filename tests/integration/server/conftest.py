"""A server of the test's own home."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.tracking_server import TrackingClient, tracking_server


@pytest.fixture
def server(flashtrial_home: Path) -> Iterator[TrackingClient]:
    """A client of a running server whose database is ``server.db`` in the test's home."""
    with tracking_server(flashtrial_home) as client:
        yield client
