"""A disk that is really full: what was acknowledged is there, the rest is refused, and removing runs makes room."""

import random
from pathlib import Path

from flashtrial.protocol.records import encode_batches, encode_record
from testkit.disks import files_up_to, fill, mounted
from testkit.tracking_server import TrackingClient, batch, metric, state, tracking_server
from testkit.waiting import wait_until

MIB = 1024 * 1024
LINES = 200


def _lines(run_id: str, first: int) -> bytes:
    numbers = range(first, first + LINES)
    lines = [{"stream": "stdout", "line": n, "text": f"{n} {'x' * 4000}"} for n in numbers]
    return encode_batches([batch(run_id, *(encode_record(n, "console", n, one) for n, one in enumerate(lines, first)))])


def _printed(server: TrackingClient, run_id: str) -> list[int]:
    found: list[int] = []
    while lines := server.get(f"/api/v1/runs/{run_id}/console?after={found[-1] if found else 0}").json()["lines"]:
        found += [line["id"] for line in lines]
    return found


def test_on_a_full_disk_what_was_acknowledged_stays_and_removing_a_run_makes_room_again(flashtrial_home: Path) -> None:
    with (
        mounted(flashtrial_home, "size=40m,mode=700"),
        tracking_server(flashtrial_home, reserve_bytes=6 * MIB) as server,
    ):
        assert server.get("/readyz").json() == {"status": "ready"}
        for run_id, requests in (("large", 12), ("kept", 3)):
            for first in range(1, 1 + requests * LINES, LINES):
                assert server.post(_lines(run_id, first)).status == 200
        fill(flashtrial_home / "checkpoint.pt")
        taken = 3 * LINES
        while (answer := server.post(_lines("kept", taken + 1))).status == 200:
            taken += LINES
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        assert answer.json()["error"] == "disk_full"
        ready = server.get("/readyz")
        assert (ready.status, ready.json()["error"]) == (503, "disk_full")
        assert len(_printed(server, "kept")) == taken
        assert server.request("DELETE", "/api/v1/runs/large").json() == {"removed": "large"}
        wait_until(lambda: server.get("/readyz").status == 200, what="the room of the run that was removed")
        wait_until(lambda: server.post(_lines("kept", taken + 1)).status == 200, what="room for more lines")
        assert len(_printed(server, "kept")) == taken + LINES


def test_a_server_that_starts_on_a_full_disk_shows_what_it_has_and_removes_it(flashtrial_home: Path) -> None:
    with mounted(flashtrial_home, "size=16m,mode=700"):
        with tracking_server(flashtrial_home, reserve_bytes=2 * MIB) as server:
            for first in range(1, 1 + 4 * LINES, LINES):
                assert server.post(_lines("large", first)).status == 200
            server.post(encode_batches([batch("kept", state(1, "finished"))]))
        fill(flashtrial_home / "checkpoint.pt")
        with tracking_server(flashtrial_home, reserve_bytes=2 * MIB) as server:
            assert len(_printed(server, "large")) == 4 * LINES
            assert server.get("/readyz").status == 503
            assert server.request("DELETE", "/api/v1/runs/large").status == 200
            assert [run["id"] for run in server.get("/api/v1/runs").json()["runs"]] == ["kept"]
            wait_until(lambda: server.post(_lines("kept", 2)).status == 200, what="room for more lines")


def test_a_run_with_forks_stays_whole_where_there_is_no_room_for_what_they_inherit(flashtrial_home: Path) -> None:
    draw = random.Random(1).random
    forks = [f"fork{n}" for n in range(16)]
    with (
        mounted(flashtrial_home, "size=24m,mode=700"),
        tracking_server(flashtrial_home, reserve_bytes=5 * MIB) as server,
    ):
        for first in range(1, 40_000, 10_000):
            values = (metric(seq, {name: draw() for name in "abc"}) for seq in range(first, first + 10_000))
            server.ingest(batch("parent", *values))
        server.ingest(
            batch("parent", encode_record(40_001, "console", 1, {"stream": "stdout", "line": 1, "text": "a"}))
        )
        for run_id in forks:
            server.ingest(batch(run_id, state(1, "finished", fork={"run_id": "parent", "step": 40_000})))
        fill(flashtrial_home / "checkpoint.pt")
        answer = server.request("DELETE", "/api/v1/runs/parent")
        assert (answer.status, answer.json()["error"]) == (503, "disk_full")
        assert "remove its forks" in answer.json()["message"]
        assert len(_printed(server, "parent")) == 1
        assert server.get("/api/v1/runs/parent").json()["points"]["a"] == 40_000
        for run_id in forks[1:]:
            assert server.request("DELETE", f"/api/v1/runs/{run_id}").json() == {"removed": run_id}
        assert server.request("DELETE", "/api/v1/runs/parent").json() == {"removed": "parent"}
        assert len(server.points("fork0", "a")) == 40_000


def test_under_a_quota_the_room_that_is_kept_is_given_to_removals_and_kept_again(flashtrial_home: Path) -> None:
    reserve = flashtrial_home / "server.db.reserve"
    with tracking_server(flashtrial_home, reserve_bytes=MIB) as server:
        for first in range(1, 1 + 2 * LINES, LINES):
            assert server.post(_lines("large", first)).status == 200
        assert reserve.exists()
        taken = 0
        with files_up_to(4 * MIB):
            while (answer := server.post(_lines("kept", taken + 1))).status == 200:
                taken += LINES
            assert answer.json()["error"] == "disk_full"
            assert server.request("DELETE", "/api/v1/runs/large").json() == {"removed": "large"}
            assert not reserve.exists()
        assert server.post(_lines("kept", taken + 1)).status == 200
        wait_until(reserve.exists, what="room that is kept")
