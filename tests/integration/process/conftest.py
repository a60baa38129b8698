"""Children without a worker around them: a supervisor that forks them, and one that spawns them."""

import os
from collections.abc import AsyncIterator

import pytest

from flashtrial.process.launch import Launcher, StartMethod
from flashtrial.process.supervisor import Supervisor


@pytest.fixture(params=[StartMethod.FORK, StartMethod.SPAWN])
async def supervisor(request: pytest.FixtureRequest) -> AsyncIterator[Supervisor]:
    built = Supervisor(Launcher(dict(os.environ), request.param))
    yield built
    await built.close()


@pytest.fixture
async def forking() -> AsyncIterator[Supervisor]:
    built = Supervisor(Launcher(dict(os.environ), StartMethod.FORK))
    yield built
    await built.close()
