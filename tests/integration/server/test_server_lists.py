"""Lists of runs by what they are: filters, orders, pages; and what else is listed."""

import contextlib
import hashlib
import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from flashtrial.protocol.records import encode_batches, encode_record
from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.ingest_body import parse_msgpack
from flashtrial.server.repository import Repository
from flashtrial.server.retention import RetentionRules
from flashtrial.server.run_stream import RunWatch
from flashtrial.server.settings import ServerSettings
from flashtrial.server.upkeep import forget_blobs
from flashtrial.testing.clock import FakeClock
from testkit.tracking_server import TrackingClient, batch, metric, state, tracking_server
from testkit.waiting import wait_until

ODD_NAME = 'a"b=\\c'


@pytest.fixture
def server(server: TrackingClient) -> TrackingClient:
    """The server with four runs: loss 4, 3, 2 and NaN; the last has another optimizer."""
    for number, loss in enumerate([4.0, 3.0, 2.0, math.nan], 1):
        config: dict[str, Any] = {"lr": number / 10, "opt": {"name": "adam"}, "flat.key": number, "on": number > 2}
        metrics = {"loss": loss}
        if number == 3:
            config["note"] = "=5"
        if number == 4:
            config |= {"opt": {"name": "sgd"}, ODD_NAME: 'x<y "z"'}
            metrics['q"<1'] = 7.0
        opened = state(number, "running", name=f"Trial {number}", config=config, tags=["all", f"t{number % 2}"])
        server.ingest(batch(f"r{number}", opened, metric(number + 1, metrics)))
    return server


def _ids(server: TrackingClient, query: str) -> str:
    answer = server.get(f"/api/v1/runs?{query}")
    assert answer.status == 200, answer.body
    return "".join(run["id"][1:] for run in answer.json()["runs"])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("filter=metric.loss<4", "32"),
        ("filter=metric.loss>=3", "21"),
        ("filter=metric.loss=NaN", "4"),
        ("filter=metric.loss!=NaN", "321"),
        ("filter=metric.none<1", ""),
        ("filter=config.opt.name=sgd", "4"),
        ("filter=config.lr<0.25&filter=config.opt.name=adam", "21"),
        ("filter=config.flat.key=3", "3"),
        ("filter=config.on=true", "43"),
        ("filter=config.opt.name>1", ""),
        ("filter=config.lr%20%3C%3D%200.2", "21"),
        ("filter=config.%22flat.key%22=3", "3"),
        ("filter=config.%22opt.name%22=sgd", ""),
        ("filter=config.%22a%5C%22b%3D%5C%5Cc%22=%22x%3Cy%20%5C%22z%5C%22%22", "4"),
        ("filter=metric.%22q%5C%22%3C1%22>0", "4"),
        ("filter=config.note=%22%3D5%22", "3"),
        ("sort=-metric.%22q%5C%22%3C1%22&limit=1", "4"),
        ("tag=t1", "31"),
        ("tag=t1&tag=all&filter=metric.loss<4", "3"),
        ("tag=none", ""),
        ("search=trial%204", "4"),
        ("search=r2", "2"),
        ("sort=metric.loss", "3214"),
        ("sort=-metric.loss", "1234"),
        ("sort=config.lr", "1234"),
        ("sort=-config.opt.name", "4321"),
        ("sort=-name", "4321"),
        ("sort=-created&status=running", "4321"),
    ],
)
def test_runs_are_found_by_what_they_are(server: TrackingClient, query: str, found: str) -> None:
    assert _ids(server, query) == found


def test_a_sorted_list_is_paged(server: TrackingClient) -> None:
    first = server.get("/api/v1/runs?sort=metric.loss&limit=2").json()
    rest = server.get(f"/api/v1/runs?sort=metric.loss&limit=2&cursor={first['next']}").json()
    assert [run["id"] for run in [*first["runs"], *rest["runs"]]] == ["r3", "r2", "r1", "r4"]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("filter=loss<4", "bad_filter"),
        ("filter=config.", "bad_filter"),
        ("filter=config.%22ab=1", "bad_filter"),
        ("filter=status=running", "bad_filter"),
        ("filter=config.lr==0.1", "bad_filter"),
        ("filter=config.lr=~0.1", "bad_filter"),
        ("filter=config.lr%200.1", "bad_filter"),
        ("filter=config.%22lr%22~1", "bad_filter"),
        ("fields=nmae", "bad_filter"),
        ("fields=metric.", "bad_filter"),
        ("filter=metric.loss<NaN", "bad_filter"),
        ("sort=age", "bad_filter"),
        ("sort=metric.", "bad_filter"),
        ("sort=name&cursor=1-2", "bad_cursor"),
        ("cursor=o5", "bad_cursor"),
        ("sort=name&cursor=o5", "bad_cursor"),
        ("sort=name&cursor=sW10", "bad_cursor"),
    ],
)
def test_what_is_no_filter_is_told_so(server: TrackingClient, query: str, error: str) -> None:
    answer = server.get(f"/api/v1/runs?{query}")
    assert (answer.status, answer.json()["error"]) == (400, error)


def test_what_is_not_known_is_refused_with_what_is(server: TrackingClient) -> None:
    for query, known in (
        ("filters=config.lr<1", "known are cursor, fields, filter, limit"),
        ("filter=lr<1", "config.NAME and metric.NAME"),
        ("filter=config.lr=<1", "known are = != < <= > >="),
        ("filter=" + quote('config."\\ud800"=1'), "a text as JSON writes it"),
        ("sort=" + quote('metric."\\ud800"'), "is no order"),
        ("fields=lr", "known are id, project, name, status"),
    ):
        answer = server.get(f"/api/v1/runs?{query}")
        assert answer.status in (400, 422)
        assert known in answer.json()["message"]


def test_runs_come_in_the_columns_asked_for(server: TrackingClient) -> None:
    fields = "&".join(f"fields={name}" for name in ("name", "config.opt.name", "config.none", "metric.loss"))
    answer = server.get(f"/api/v1/runs?limit=1&{fields}").json()
    assert answer["runs"] == [
        {"id": "r4", "name": "Trial 4", "config": {"opt.name": "sgd"}, "summary": {"loss": "NaN"}}
    ]
    assert server.get(f"/api/v1/runs?limit=1&fields=id&cursor={answer['next']}").json()["runs"] == [{"id": "r3"}]


@pytest.mark.parametrize("sort", ["name", "-name", "metric.x", "-metric.x", "config.mixed", "-config.mixed"])
def test_each_run_of_a_sorted_list_is_seen_once_while_runs_come(standing_server: TrackingClient, sort: str) -> None:
    values = [3, "b", 1.5, None, math.inf, 3, -math.inf, "a", math.nan, 2]
    project = f"sorted by {sort}"

    def add(number: int, place: int) -> str:
        mixed = values[place % len(values)]
        value = mixed if isinstance(mixed, float | int) else None
        opened = state(place, "running", project=project, name=f"n{place % 3}", config={"mixed": mixed})
        frames = [] if value is None else [metric(place + 1, {"x": value})]
        standing_server.ingest(batch(f"{sort}-{number}", opened, *frames))
        return f"{sort}-{number}"

    def page(cursor: str | None) -> Any:
        rest = "" if cursor is None else f"&cursor={cursor}"
        return standing_server.get(f"/api/v1/runs?project={quote(project)}&sort={sort}&limit=3{rest}").json()

    there = [add(number, number) for number in range(20)]
    whole = [
        run["id"] for run in standing_server.get(f"/api/v1/runs?project={quote(project)}&sort={sort}").json()["runs"]
    ]
    seen, cursor = [], None
    for number in range(20, 60):
        answer = page(cursor)
        seen += [run["id"] for run in answer["runs"]]
        cursor = answer["next"]
        if cursor is None:
            break
        add(number, number)
    assert [run_id for run_id in seen if run_id in there] == whole
    assert len(seen) == len(set(seen))


def test_projects_tags_and_changes_are_listed_by_pages(server: TrackingClient) -> None:
    assert server.get("/api/v1/projects").json() == {"items": [{"name": "default", "runs": 4}], "next": None}
    assert server.get("/api/v1/tags?limit=2").json() == {
        "items": [{"name": "all", "runs": 4}, {"name": "t0", "runs": 2}],
        "next": 2,
    }
    changes = server.get("/api/v1/runs/r1/changes").json()
    assert [(each["kind"], each["body"]["status"]) for each in changes["changes"]] == [("state", "running")]


def test_a_removed_run_is_gone_and_stays_gone(server: TrackingClient) -> None:
    assert server.request("DELETE", "/api/v1/runs/r1").json() == {"removed": "r1"}
    assert server.request("DELETE", "/api/v1/runs/r1").status == 404
    assert server.get("/api/v1/runs/r1").status == 404
    (result,) = server.ingest(batch("r1", metric(9, {"loss": 1.0})))
    assert (result["stored"], result["refused"]) == (0, [{"seq": 9, "reason": "the run was removed"}])
    assert _ids(server, "") == "432"


def test_removing_a_run_removes_the_contents_that_only_it_named(flashtrial_home: Path) -> None:
    contents = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("own", "shared")}
    with tracking_server(flashtrial_home) as server:
        for run_id, names in (("a", ["own", "shared"]), ("b", ["shared"])):
            bodies = [{"name": name, "type": "artifact", "sha256": contents[name], "size": len(name)} for name in names]
            server.ingest(batch(run_id, *(encode_record(seq, "file", seq, body) for seq, body in enumerate(bodies, 1))))
        blobs = ServerSettings(flashtrial_home).blobs_dir
        for name, sha256 in contents.items():
            (blobs / sha256[:2]).mkdir(parents=True, exist_ok=True)
            (blobs / sha256[:2] / sha256).write_bytes(name.encode())
        assert server.request("DELETE", "/api/v1/runs/a").status == 200
        assert [path.read_bytes() for path in blobs.glob("??/*") if path.is_file()] == [b"shared"]


def test_the_file_shrinks_when_much_was_removed(flashtrial_home: Path) -> None:
    path = flashtrial_home / "server.db"
    line = "x" * 4000
    with tracking_server(flashtrial_home) as server:
        for start in range(1, 4000, 1000):
            numbers = range(start, start + 1000)
            lines = [{"stream": "stdout", "line": number, "text": f"{number}{line}"} for number in numbers]
            frames = [encode_record(seq, "console", seq, one) for seq, one in zip(numbers, lines, strict=True)]
            server.ingest(batch("loud", *frames))
        server.ingest(batch("kept", metric(1, {"x": 1.0})))
        before = path.stat().st_size
        assert server.request("DELETE", "/api/v1/runs/loud").status == 200
        wait_until(lambda: path.stat().st_size < before / 2, 30, "the file to shrink")
        assert server.points("kept", "x") == [[1, 1000, 1.0]]


def test_retention_removes_ended_runs_and_spares_the_kept_and_the_parents(flashtrial_home: Path) -> None:
    clock = FakeClock()
    repository = Repository(flashtrial_home / "server.db", clock, lambda _: None)
    repository.start()
    try:
        for run_id, fields in (("old", {}), ("kept", {"tags": ["keep"]}), ("parent", {}), ("live", {})):
            frames = [state(1, "running", **fields), *([] if run_id == "live" else [state(2, "finished")])]
            repository.ingest(parse_msgpack(encode_batches([batch(run_id, *frames)])).batches).result(20)
        child = state(1, "running", fork={"run_id": "parent"})
        repository.ingest(parse_msgpack(encode_batches([batch("child", child)])).batches).result(20)
        assert repository.retain(RetentionRules()).result(20).run_ids == ()
        clock.advance(2 * 24 * 3600)
        assert repository.retain(RetentionRules(days=1)).result(20).run_ids == ("old",)
    finally:
        repository.stop()


def test_a_runs_own_stream_tells_its_row_its_points_and_its_lines(server: TrackingClient) -> None:
    answer = server._pool.request("GET", "/api/v1/runs/r1/events?name=loss", preload_content=False)
    with contextlib.closing(answer):
        blocks = iter(answer.read_chunked())
        text = b""
        while b"event: metrics" not in text:
            text += next(blocks)
        server.ingest(batch("r1", metric(3, {"loss": 1.5}, step=7)))
        while text.count(b"event: metrics") < 2:
            text += next(blocks)
    events = [block.split(b"\ndata: ") for block in text.strip().split(b"\n\n") if b"\ndata: " in block]
    told = [json.loads(data) for name, data in events if name == b"event: metrics"]
    assert [point[::2] for point in told[-1]["points"]] == [[2, 4.0], [7, 1.5]]
    assert json.loads(events[0][1])["id"] == "r1"


def _told(watch: RunWatch, home: Path) -> list[list[list[float]]]:
    """(step, value) of the points of each curve that the stream tells now."""
    blocks = [block.split(b"\ndata: ") for block in watch.news(home / "server.db")]
    return [[point[::2] for point in json.loads(data)["points"]] for name, data in blocks if name == b"event: metrics"]


def test_a_runs_stream_tells_points_that_stand_further_back(server: TrackingClient, flashtrial_home: Path) -> None:
    watch = RunWatch("r9", ("x",))

    def told(*steps: int) -> list[list[list[float]]]:
        for step in steps:
            seqs.append(len(seqs) + 1)
            server.ingest(batch("r9", metric(seqs[-1], {"x": float(seqs[-1])}, step=step)))
        return _told(watch, flashtrial_home)

    seqs: list[int] = []
    assert told(0, 1, 2) == [[[0, 1.0], [1, 2.0], [2, 3.0]]]
    assert told() == []
    assert told(2) == [[[2, 3.0], [2, 4.0]]]
    assert told(1) == [[[0, 1.0], [1, 5.0]]]  # from a checkpoint
    assert told(0) == [[[0, 1.0], [0, 6.0], [1, 5.0]]]  # the next epoch
    assert told(1) == [[[1, 5.0], [1, 7.0]]]


def test_a_runs_stream_tells_the_whole_curve_where_a_rank_turns_out_to_be_of_a_later_generation(
    server: TrackingClient, flashtrial_home: Path
) -> None:
    def log(writer_id: str, value: float, *points: tuple[int, int]) -> None:
        frames = [metric(seq, {"x": value}, step=step, time_ms=ms) for seq, (step, ms) in enumerate(points, 2)]
        server.ingest(batch("r9", *frames, writer_id=writer_id))

    watch = RunWatch("r9", ("x",))
    log("owner", 1.0, (0, 10), (1, 20))
    log("rank", 2.0, (0, 30), (2, 40))
    assert _told(watch, flashtrial_home) == [[[0, 1.0], [0, 2.0], [1, 1.0], [2, 2.0]]]
    opened = encode_record(1, "state", 25, {"status": "running", "resumed": True})
    server.ingest(batch("r9", opened, writer_id="next owner"))
    log("next owner", 3.0, (2, 50))
    assert _told(watch, flashtrial_home) == [[[0, 2.0], [2, 2.0], [2, 3.0]]]


def test_a_content_that_somebody_logs_while_its_run_is_removed_stays(flashtrial_home: Path) -> None:
    content = b"weights"
    sha256 = hashlib.sha256(content).hexdigest()
    logged = encode_record(1, "file", 1, {"name": "w", "type": "artifact", "sha256": sha256, "size": len(content)})
    repository = Repository(flashtrial_home / "server.db", FakeClock(), lambda _: None)
    blobs = BlobStore(flashtrial_home / "blobs")
    repository.start()
    try:
        blobs.start()
        with blobs.incoming() as incoming:
            incoming.write(content)
            incoming.commit()
        repository.ingest(parse_msgpack(encode_batches([batch("a", logged)])).batches).result(20)
        removal = repository.remove("a").result(20)
        repository.ingest(parse_msgpack(encode_batches([batch("b", logged)])).batches).result(20)
        forget_blobs(repository.path, blobs, removal)
        assert blobs.path_of(sha256) is not None
        forget_blobs(repository.path, blobs, repository.remove("b").result(20))
        assert blobs.path_of(sha256) is None
    finally:
        repository.stop()
