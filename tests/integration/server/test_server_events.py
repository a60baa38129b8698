"""The stream of changes: what changed is told soon, merged where it comes fast, and never keeps the server up."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

from flashtrial.server.events import EventHub
from testkit.tracking_server import TrackingClient, batch, metric, tracking_server
from testkit.waiting import wait_until


def _changed(block: bytes) -> list[str]:
    """The run ids that an event names; none for a comment."""
    lines = dict(line.split(b": ", 1) for line in block.strip().splitlines())
    if lines.get(b"event") != b"changed":
        return []
    runs: list[str] = json.loads(lines[b"data"])["runs"]
    return runs


def test_a_listener_is_told_which_runs_changed(server: TrackingClient) -> None:
    with server.events() as blocks:
        next(blocks)  # says that we are heard
        server.ingest(batch("r", metric(1, {"x": 1})))
        assert _changed(next(blocks)) == ["r"]
        server.ingest(batch("r", metric(1, {"x": 1})))  # a repetition changes nothing
        server.ingest(batch("s", metric(1, {"x": 1})), batch("t", metric(1, {"x": 1})))
        assert _changed(next(blocks)) == ["s", "t"]


def test_a_server_with_an_open_stream_stops(flashtrial_home: Path) -> None:
    with tracking_server(flashtrial_home) as server, server.events() as blocks:
        next(blocks)


def test_many_changes_are_one_event_and_every_run_is_named(server: TrackingClient) -> None:
    with server.events() as blocks:
        next(blocks)
        for number in range(60):
            server.ingest(batch(f"run{number:02}", metric(1, {"x": 1})))
        events: list[list[str]] = []
        while sum(map(len, events)) < 60:
            events.append(_changed(next(blocks)))
    assert sorted(run_id for event in events for run_id in event) == [f"run{number:02}" for number in range(60)]
    assert len(events) < 60


def test_a_listener_that_went_away_is_forgotten(server: TrackingClient) -> None:
    with server.events() as blocks:
        next(blocks)
        assert b"flashtrial_event_listeners 1\n" in server.get("/metrics").body
    wait_until(lambda: b"flashtrial_event_listeners 0\n" in server.get("/metrics").body, what="no listeners")


async def _take(stream: AsyncIterator[bytes]) -> bytes:
    return await asyncio.wait_for(anext(stream), 10)


async def test_a_listener_that_does_not_read_holds_one_entry_for_a_run() -> None:
    hub = EventHub(pause_s=0)
    hub.open()
    stream = hub.stream()
    await _take(stream)
    for _ in range(1000):
        hub.publish(frozenset({"a", "b"}))
    await asyncio.sleep(0)  # the loop's turn, not a time
    assert _changed(await _take(stream)) == ["a", "b"]
    hub.publish(frozenset({"c"}))
    assert _changed(await _take(stream)) == ["c"]
    hub.close()
    assert [block async for block in stream] == []
    assert hub.listeners == 0


async def test_a_quiet_stream_says_that_it_lives() -> None:
    hub = EventHub(pause_s=0, keep_alive_s=0.01)
    hub.open()
    stream = hub.stream()
    await _take(stream)
    assert _changed(await _take(stream)) == []
    hub.close()
