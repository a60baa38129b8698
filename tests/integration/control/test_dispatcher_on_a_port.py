"""The dispatcher alone, as an app of its own in the loop of the server that it belongs to."""

from pathlib import Path

import httpx
import pytest

from flashtrial.server.app import ServerSettings, create_app
from flashtrial.server.dispatcher_app import dispatcher_only

pytestmark = pytest.mark.integration


async def test_a_port_of_its_own_has_the_dispatcher_and_nothing_else(flashtrial_home: Path) -> None:
    app = create_app(ServerSettings(flashtrial_home))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(dispatcher_only(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8081") as client:
            assert (await client.get("/dispatcher/health-check")).json() == "Dispatcher is up and running"
            assert (await client.get("/dispatcher/get-all-runs")).json() == []
            refused = await client.get("/dispatcher/get-all-runs", headers={"Origin": "http://evil.example"})
            assert refused.status_code == 403
            elsewhere = await client.get("/api/v1/runs")
            assert (elsewhere.status_code, list(elsewhere.json())) == (404, ["error"])
