"""The stream of changes: what changed is told soon, merged where it comes fast, and never keeps the server up."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from flashtrial.protocol.records import encode_record
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


def _printed(first: int, count: int) -> list[bytes]:
    """Frames of so many lines, whose texts are their numbers."""
    numbers = range(first, first + count)
    return [encode_record(n, "console", n, {"stream": "stdout", "line": n, "text": str(n)}) for n in numbers]


def _lines_until(blocks: Iterator[bytes], last: int) -> tuple[list[int], str]:
    """The numbers of the lines told, up to this one, and the id of the event that told it."""
    found: list[int] = []
    fields: dict[bytes, bytes] = {}
    while not found or found[-1] < last:
        fields = dict(line.split(b": ", 1) for line in next(blocks).strip().splitlines())
        if fields.get(b"event") == b"console":
            found += [int(line["text"]) for line in json.loads(fields[b"data"])["lines"]]
    return found, fields[b"id"].decode()


def test_every_line_is_told_however_many_come_at_once_and_who_comes_back_misses_none(server: TrackingClient) -> None:
    server.ingest(batch("r", *_printed(1, 2500)))
    with server.events("/api/v1/runs/r/events") as blocks:
        assert _lines_until(blocks, 2500)[0] == [*range(1, 2501)]
        for first in range(2501, 8501, 1500):  # while nobody reads
            server.ingest(batch("r", *_printed(first, 1500)))
        told, event_id = _lines_until(blocks, 8500)
        assert told == [*range(2501, 8501)]
    server.ingest(batch("r", *_printed(8501, 1001)))
    with server.events("/api/v1/runs/r/events", **{"Last-Event-ID": event_id}) as blocks:
        assert _lines_until(blocks, 9501)[0] == [*range(8501, 9502)]
    with server.events("/api/v1/runs/r/events?console_after=0", **{"Last-Event-ID": "of another"}) as blocks:
        assert _lines_until(blocks, 9501)[0] == [*range(1, 9502)]


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
