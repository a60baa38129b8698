"""Records over HTTP into a real database: stored once, whatever the order, the repetition and the neighbours."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashtrial.core import sqlite
from flashtrial.protocol.records import encode_batches, encode_record
from flashtrial.server.app import ServerSettings
from flashtrial.server.schema import MIGRATIONS
from flashtrial.server.views import read_runs, verify_counts
from testkit.tracking_server import NDJSON, TrackingClient, batch, metric, state, tracking_server


def test_a_batch_is_stored_and_accounted_for(server: TrackingClient) -> None:
    frames = [state(1, "running", name="first", project="p"), metric(2, {"loss": 0.5}), metric(3, {"loss": 0.25})]
    (result,) = server.ingest(batch("r", *frames))
    assert result == {"run_id": "r", "writer_id": "w1", "stored": 3, "duplicates": 0, "refused": []}
    assert server.points("r", "loss") == [[2, 2000, 0.5], [3, 3000, 0.25]]


def test_results_stand_in_the_order_of_the_batches(server: TrackingClient) -> None:
    batches = [batch("b", metric(1, {"x": 1})), batch("a", metric(1, {"x": 1})), batch("b", metric(1, {"x": 1}))]
    results = server.ingest(*batches)
    assert [(result["run_id"], result["stored"], result["duplicates"]) for result in results] == [
        ("b", 1, 0),
        ("a", 1, 0),
        ("b", 0, 1),
    ]


def test_the_same_number_of_two_writers_and_of_two_runs_are_different_records(server: TrackingClient) -> None:
    frame = metric(1, {"x": 1})
    results = server.ingest(batch("r", frame), batch("r", frame, writer_id="w2"), batch("s", frame))
    assert [result["stored"] for result in results] == [1, 1, 1]
    assert len(server.points("r", "x")) == 2


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_repeated_overlapping_and_disordered_batches_are_stored_once(
    server: TrackingClient, flashtrial_home: Path, data: st.DataObject
) -> None:
    run_id = f"run-{data.draw(st.uuids())}"
    frames = [state(1, "running"), *(metric(seq, {"x": seq / 2}) for seq in range(2, 20)), state(20, "finished")]
    pieces = data.draw(st.lists(st.lists(st.sampled_from(range(20)), min_size=1, max_size=12), max_size=12))
    for piece in [*pieces, list(range(20))]:
        server.ingest(batch(run_id, *(frames[index] for index in piece)))
    assert server.points(run_id, "x") == [[seq, 1000 * seq, seq / 2] for seq in range(2, 20)]
    run = server.get(f"/api/v1/runs/{run_id}").json()
    assert (run["status"], run["points"], run["summary"]) == ("finished", {"x": 18}, {"x": 9.5})
    assert (run["created_ms"], run["updated_ms"]) == (1000, 20_000)
    counts = verify_counts(flashtrial_home / "server.db", run_id)
    assert counts == [{"writer_id": "w1", "stored": 20, "max_seq": 20, "doubled": 0}]


def test_nan_and_infinities_come_back_by_name(server: TrackingClient) -> None:
    values = [math.nan, math.inf, -math.inf, 1e308, -0.0, 2**63]
    server.ingest(batch("r", *(metric(seq, {"x": value}) for seq, value in enumerate(values, 1))))
    assert [value for *_, value in server.points("r", "x")] == ["NaN", "Infinity", "-Infinity", 1e308, -0.0, 2.0**63]
    server.ingest(batch("r", metric(7, {"x": math.nan})))
    assert server.get("/api/v1/runs/r").json()["summary"] == {"x": "NaN"}


def test_lines_of_json_do_as_well_bare_nan_included(server: TrackingClient) -> None:
    lines = [
        {"run_id": "r", "writer_id": "js", "seq": seq, "kind": "metric", "time_ms": 5, "body": {"values": {"x": value}}}
        for seq, value in enumerate([math.nan, math.inf, 1], 1)
    ]
    answer = server.post("\n".join([json.dumps(lines[0]), "nonsense", *map(json.dumps, lines[1:])]).encode(), NDJSON)
    assert answer.status == 200
    assert answer.json()["results"][0]["stored"] == 3
    assert [refused["line"] for refused in answer.json()["refused_lines"]] == [2]
    assert [value for *_, value in server.points("r", "x")] == ["NaN", "Infinity", 1.0]


def test_a_refused_record_leaves_its_neighbours_and_may_be_mended(server: TrackingClient) -> None:
    bad = encode_record(2, "metric", 5, {"values": {"x": "high"}})
    (result,) = server.ingest(batch("r", metric(1, {"x": 1}), bad, metric(3, {"x": 3})))
    assert (result["stored"], [refused["seq"] for refused in result["refused"]]) == (2, [2])
    (result,) = server.ingest(batch("r", metric(2, {"x": 2})))
    assert (result["stored"], result["refused"]) == (1, [])


def test_what_lies_before_damage_is_stored_and_what_lies_behind_is_not(server: TrackingClient) -> None:
    (result,) = server.ingest(batch("r", metric(1, {"x": 1}), b"\x05\x00\x00\x00junkjunk!", metric(2, {"x": 2})))
    assert result["stored"] == 1
    assert "checksum" in result["error"]


@pytest.mark.parametrize("names", ["../../etc/passwd", "<script>alert(1)</script>", "☃ 🚀", "a'; DROP TABLE runs;--"])
def test_any_text_is_a_name(server: TrackingClient, names: str) -> None:
    server.ingest(batch(names, state(1, "running", name=names, project=names, tags=[names]), metric(2, {names: 1})))
    (run,) = server.get("/api/v1/runs").json()["runs"]
    assert (run["id"], run["name"], run["project"], run["tags"], run["summary"]) == (
        *(names, names, names),
        [names],
        {names: 1.0},
    )


def test_a_run_tells_its_story_by_state_config_and_tags(server: TrackingClient) -> None:
    opened = state(1, "running", name="n", project="p", config={"a": {"b": 1}}, tags=["t"], host="box")
    config = encode_record(2, "config", 2000, {"set": {"a": {"c": math.inf}}})
    server.ingest(batch("r", opened, config, state(3, "failed", reason="it broke")))
    run = server.get("/api/v1/runs/r").json()
    assert (run["status"], run["reason"], run["host"]) == ("failed", "it broke", "box")
    assert (run["config"], run["tags"]) == ({"a": {"b": 1, "c": "Infinity"}}, ["t"])


def test_console_lines_are_paged_by_their_ids(server: TrackingClient) -> None:
    lines = [encode_record(n, "console", n, {"stream": "stdout", "line": n, "text": f"line {n}"}) for n in (1, 2, 3)]
    server.ingest(batch("r", *lines))
    first = server.get("/api/v1/runs/r/console?limit=2").json()
    assert [line["text"] for line in first["lines"]] == ["line 1", "line 2"]
    rest = server.get(f"/api/v1/runs/r/console?after={first['next']}").json()
    assert [line["text"] for line in rest["lines"]] == ["line 3"]
    assert server.get(f"/api/v1/runs/r/console?after={rest['next']}").json() == {"lines": [], "next": rest["next"]}


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/msgpack", 400),
        (b"\xc1\x00", "application/msgpack", 400),
        (b"\x91" * 10_000, "application/msgpack", 400),
        (b"not json", "application/x-ndjson", 400),
        (b"[" * 10_000, "application/json", 400),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "application/json", 400),
        (b'{"run_id": "r"}', "application/json", 400),
        (b'{"run_id": "r", "writer_id": "w", "seq": 1e400}', "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b"\x00" * 20_000_000, "application/msgpack", 413),
    ],
)
def test_bad_bodies_get_a_clear_answer_and_the_server_goes_on(
    standing_server: TrackingClient, body: bytes, content_type: str, status: int
) -> None:
    answer = standing_server.post(body, content_type)
    assert answer.status == status
    assert set(answer.json()) == {"error", "message"}
    (result,) = standing_server.ingest(batch("r", metric(1, {"x": 1})))
    assert result["stored"] + result["duplicates"] == 1


def test_a_body_larger_than_its_announced_length_would_allow_is_cut_at_the_limit(server: TrackingClient) -> None:
    answer = server.request(
        "POST",
        "/api/v1/ingest",
        (b"\x00" * 1_000_000 for _ in range(30)),  # type: ignore[arg-type]  # chunked: no length is announced
        {"Content-Type": "application/msgpack"},
    )
    assert (answer.status, answer.json()["error"]) == (413, "too_large")


def test_a_large_body_within_the_limit_is_stored(server: TrackingClient) -> None:
    text = "x" * 12_000_000
    (result,) = server.ingest(batch("r", encode_record(1, "console", 1, {"stream": "stdout", "line": 1, "text": text})))
    assert result["stored"] == 1


def test_a_database_that_cannot_be_written_is_an_outage_and_loses_nothing(
    server: TrackingClient, flashtrial_home: Path
) -> None:
    db_path = ServerSettings(flashtrial_home).db_path
    connection = sqlite.connect(db_path)
    try:
        connection.execute("ALTER TABLE tails RENAME TO elsewhere")
        answer = server.post(encode_batches([batch("r", metric(1, {"x": 1}))]))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert read_runs(db_path) == []
        connection.execute("ALTER TABLE elsewhere RENAME TO tails")
    finally:
        connection.close()
    assert server.ingest(batch("r", metric(1, {"x": 1})))[0]["stored"] == 1


def test_the_last_value_is_the_one_logged_last_whatever_the_clock_did_meanwhile(server: TrackingClient) -> None:
    """A clock set back by an hour must not hide an hour of training."""
    hour = 3_600_000
    frames = [metric(seq, {"x": float(seq)}, time_ms=2 * hour + seq if seq < 3 else hour + seq) for seq in range(1, 6)]
    for order in ([0, 1, 2], [4], [3], [2, 3]):
        server.ingest(batch("r", *(frames[index] for index in order)))
    assert server.get("/api/v1/runs/r").json()["summary"] == {"x": 5.0}


def test_of_several_writers_the_latest_by_time_has_the_last_word(server: TrackingClient) -> None:
    server.ingest(batch("r", metric(5, {"x": 5.0}, time_ms=5000), writer_id="w1"))
    server.ingest(batch("r", metric(9, {"x": 9.0}, time_ms=4000), writer_id="w2"))
    assert server.get("/api/v1/runs/r").json()["summary"] == {"x": 5.0}
    server.ingest(batch("r", metric(10, {"x": 10.0}, time_ms=6000), writer_id="w2"))
    assert server.get("/api/v1/runs/r").json()["summary"] == {"x": 10.0}


def test_a_database_of_the_first_schema_is_brought_up_to_date(flashtrial_home: Path) -> None:
    flashtrial_home.mkdir(mode=0o700)
    connection = sqlite.connect(ServerSettings(flashtrial_home).db_path)
    sqlite.migrate(connection, MIGRATIONS[:1])
    connection.execute("INSERT INTO runs VALUES (1, 'r', 'p', 'n', 'running', '[]', '{}', NULL, NULL, 1, 1, 1)")
    connection.execute("INSERT INTO series VALUES (1, 1, 'metric', 'x', 1, 2000, 1, 1.0)")
    connection.close()
    with tracking_server(flashtrial_home) as server:
        assert server.get("/api/v1/runs/r").json()["summary"] == {"x": 1.0}
        server.ingest(batch("r", metric(3, {"x": 3.0})))
        assert server.get("/api/v1/runs/r").json()["summary"] == {"x": 3.0}
