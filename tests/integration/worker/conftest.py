"""A real worker without the SDK's loop: real children, real templates, real installs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flashtrial.process.launch import StartMethod
from flashtrial.worker.entrypoint import Worker
from flashtrial.worker.ledger import MemoryLedger


@pytest.fixture(params=[StartMethod.FORK, StartMethod.SPAWN])
async def worker(request: pytest.FixtureRequest, flashtrial_home: Path) -> AsyncIterator[Worker]:
    """A worker whose children are forked from a template, and one whose children are spawned."""
    built = Worker("worker-under-test", flashtrial_home, MemoryLedger("worker-under-test"), request.param)
    yield built
    await built.close()


@pytest.fixture
async def forking_worker(flashtrial_home: Path) -> AsyncIterator[Worker]:
    """A worker as Linux gets it."""
    built = Worker("worker-under-test", flashtrial_home, MemoryLedger("worker-under-test"), StartMethod.FORK)
    yield built
    await built.close()
