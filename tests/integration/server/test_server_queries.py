"""Questions to the server: lists, pages, series, health, and the dashboard's files."""

from pathlib import Path
from urllib.parse import quote

import pytest

from testkit.tracking_server import TrackingClient, batch, metric, state, tracking_server


def _fill(server: TrackingClient, count: int) -> None:
    for number in range(1, count + 1):
        status = "finished" if number % 2 else "running"
        opened = state(number, status, name=f"n{number}", project=f"p{number % 2}")
        server.ingest(batch(f"run{number}", opened))


def test_runs_are_paged_from_the_newest(server: TrackingClient) -> None:
    _fill(server, 5)
    found, cursor = [], ""
    while True:
        page = server.get(f"/api/v1/runs?limit=2{cursor}").json()
        found.append([run["id"] for run in page["runs"]])
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert found == [["run5", "run4"], ["run3", "run2"], ["run1"]]


def test_runs_are_filtered_by_project_and_status(server: TrackingClient) -> None:
    _fill(server, 4)
    runs = server.get("/api/v1/runs?project=p1&status=finished").json()["runs"]
    assert [run["id"] for run in runs] == ["run3", "run1"]
    assert server.get("/api/v1/runs?project=p1&status=running").json()["runs"] == []


def test_a_run_has_the_agreed_fields(server: TrackingClient) -> None:
    server.ingest(batch("r", state(1, "running", name="n", project="p"), metric(2, {"loss": 1, "acc": 0.5})))
    (run,) = server.get("/api/v1/runs").json()["runs"]
    assert run == {
        "id": "r",
        "project": "p",
        "name": "n",
        "status": "running",
        "tags": [],
        "config": {},
        "summary": {"acc": 0.5, "loss": 1.0},
        "points": {"acc": 1, "loss": 1},
        "created_ms": 1000,
        "updated_ms": 2000,
    }


def test_points_are_cut_to_steps_and_thinned_to_a_number(server: TrackingClient) -> None:
    server.ingest(batch("r", *(metric(seq, {"x": float(seq == 700)}) for seq in range(1, 1001))))
    cut = server.get("/api/v1/runs/r/metrics?name=x&start=10&end=12").json()
    assert cut == {"name": "x", "points": [[10, 10_000, 0.0], [11, 11_000, 0.0], [12, 12_000, 0.0]]}
    thinned = server.get("/api/v1/runs/r/metrics?name=x&points=20").json()["points"]
    assert len(thinned) <= 20
    assert [700, 700_000, 1.0] in thinned


def test_several_series_come_in_one_answer(server: TrackingClient) -> None:
    server.ingest(batch("r", metric(1, {"a": 1, "b/c d": 2})))
    answer = server.get("/api/v1/runs/r/metrics?name=a&name=b%2Fc%20d&name=none").json()
    assert [(series["name"], len(series["points"])) for series in answer["series"]] == [
        ("a", 1),
        ("b/c d", 1),
        ("none", 0),
    ]
    assert server.get("/api/v1/runs/r/metric-names").json() == {"names": ["a", "b/c d"], "system": []}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/runs?limit=0", 422),
        ("/api/v1/runs?limit=x", 422),
        ("/api/v1/runs?status=asleep", 422),
        ("/api/v1/runs?cursor=yesterday", 400),
        ("/api/v1/runs?cursor=1-99999999999999999999", 400),
        ("/api/v1/runs/none", 404),
        ("/api/v1/runs/none/metrics?name=x", 404),
        ("/api/v1/runs/none/metric-names", 404),
        ("/api/v1/runs/none/console", 404),
        ("/api/v1/runs/none/writers", 404),
        ("/api/v1/runs/none/metrics", 422),
        ("/api/v1/runs/none/metrics?name=x&start=99999999999999999999", 422),
        ("/api/v1/nothing", 404),
        ("/assets/nothing.js", 404),
        ("/assets/..%2f..%2fserver.db", 404),
        ("/assets/%00", 404),
        ("/api/v1/ingest", 405),
    ],
)
def test_bad_questions_get_an_error_of_the_one_shape(standing_server: TrackingClient, path: str, status: int) -> None:
    answer = standing_server.get(path)
    assert answer.status == status
    assert set(answer.json()) == {"error", "message"}


def test_health_and_counts_can_be_asked_for(server: TrackingClient) -> None:
    frames = [state(1, "running"), metric(2, {"x": 1})]
    server.ingest(batch("r", *frames))
    server.ingest(batch("r", *frames))
    assert server.get("/healthz").json()["status"] == "ok"
    assert server.get("/readyz").json() == {"status": "ready"}
    lines = server.get("/metrics").body.decode().splitlines()
    assert "flashtrial_records_stored_total 2" in lines
    assert "flashtrial_records_duplicate_total 2" in lines
    assert 'flashtrial_runs{status="running"} 1' in lines


def test_every_path_of_the_dashboard_gets_its_page_and_no_other_does(flashtrial_home: Path, tmp_path: Path) -> None:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<p>the page")
    (static / "favicon.svg").write_text("<svg/>")
    (static / "assets" / "app-1a2b.js").write_text("1")
    with tracking_server(flashtrial_home, static_dir=static) as server:
        for path in ("/", "/runs", "/runs/run_1/charts"):
            answer = server.get(path)
            assert (answer.status, answer.body) == (200, b"<p>the page")
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        script = server.get("/assets/app-1a2b.js")
        assert (script.status, script.headers["Content-Type"].partition(";")[0]) == (200, "text/javascript")
        assert server.get("/favicon.svg").status == 200
        assert server.get("/v2/x/health").status == 404


def test_without_a_built_dashboard_the_page_says_how_to_build_it(flashtrial_home: Path, tmp_path: Path) -> None:
    with tracking_server(flashtrial_home, static_dir=tmp_path / "none") as server:
        answer = server.get("/")
        assert (answer.status, b"make setup" in answer.body) == (200, True)


@pytest.mark.parametrize("run_id", ["a/b", "a/metrics/b", "/", "☃/../x"])
def test_a_run_whose_id_has_a_slash_is_found_under_its_quoted_id(server: TrackingClient, run_id: str) -> None:
    server.ingest(batch(run_id, metric(1, {"x": 1}), state(2, "finished")))
    address = f"/api/v1/runs/{quote(run_id, safe='')}"
    assert server.get(address).json()["id"] == run_id
    assert server.get(f"{address}/metrics?name=x").json()["points"] == [[1, 1000, 1.0]]
    assert server.get(f"{address}/metric-names").json()["names"] == ["x"]
    assert server.get(f"{address}/console").json()["lines"] == []
    assert server.get(f"{address}x").status == 404


def test_a_file_name_longer_than_the_disk_has_is_no_file(server: TrackingClient) -> None:
    assert server.get("/assets/" + "a" * 5000).status == 404
