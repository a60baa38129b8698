"""What a forked run has of its parent stays what it was when the fork began, whatever becomes of the parent."""

from pathlib import Path

from flashtrial.core import sqlite
from flashtrial.server.storage.point_store import SEAL_POINTS
from testkit.tracking_server import TrackingClient, batch, metric, state

FORK = {"run_id": "parent", "step": 5, "inherit_config": True, "inherit_tags": True}


def _curve(server: TrackingClient, run_id: str = "child") -> list[tuple[int, float]]:
    return [(step, value) for step, _, value in server.points(run_id, "x")]


def _family(server: TrackingClient) -> None:
    """A parent with steps 2 … 8 at 0.0, and a fork behind step 5 that goes on with 6 and 7 at 1.0."""
    opened = state(1, "running", config={"lr": 1}, tags=["a"])
    server.ingest(batch("parent", opened, *(metric(seq, {"x": 0.0}, step=seq) for seq in range(2, 9))))
    frames = [metric(seq, {"x": 1.0}, step=seq - 4) for seq in (10, 11)]
    server.ingest(batch("child", state(9, "running", fork=FORK), *frames))


INHERITED = [(2, 0.0), (3, 0.0), (4, 0.0), (5, 0.0)]
WHOLE = [*INHERITED, (6, 1.0), (7, 1.0)]


def test_a_fork_keeps_its_curve_config_and_tags_when_its_parent_is_removed(server: TrackingClient) -> None:
    _family(server)
    server.ingest(batch("grandchild", state(12, "running", fork={"run_id": "child", "step": 6})))
    server.ingest(batch("parent", state(20, "finished", config={"lr": 7}, tags=["b"])))
    before = server.get("/api/v1/runs/child").json()
    assert server.request("DELETE", "/api/v1/runs/parent").status == 200
    assert _curve(server) == WHOLE
    assert _curve(server, "grandchild") == WHOLE[:5]
    assert server.get("/api/v1/runs/grandchild/metric-names").json()["names"] == ["x"]
    server.ingest(batch("child", state(8, "running")))  # late: all that was told of the run is folded anew
    after = server.get("/api/v1/runs/child").json()
    assert (after["config"], after["tags"], after["points"]) == ({"lr": 1}, ["a"], {"x": 2})
    assert after["points"] == before["points"], "what is inherited is none of its own"
    assert server.request("DELETE", "/api/v1/runs/child").status == 200
    assert _curve(server, "grandchild") == WHOLE[:5]


def test_a_fork_whose_parent_is_removed_and_made_anew_keeps_what_it_had(
    server: TrackingClient, flashtrial_home: Path
) -> None:
    _family(server)
    assert server.request("DELETE", "/api/v1/runs/parent").status == 200
    connection = sqlite.connect(flashtrial_home / "server.db")
    connection.execute("DELETE FROM removed")  # as MLflow's clients may make a run anew
    connection.close()
    server.ingest(batch("parent", metric(1, {"x": 9.0}, step=1)))
    assert _curve(server) == WHOLE
    assert server.request("DELETE", "/api/v1/runs/parent").status == 200
    assert _curve(server) == WHOLE


def test_what_a_parent_goes_over_again_later_is_not_in_its_fork(server: TrackingClient) -> None:
    _family(server)
    again = [metric(seq, {"x": 5.0}, step=seq - 9) for seq in range(12, 15)]  # from a checkpoint at step 3
    server.ingest(batch("parent", *again))
    assert _curve(server) == WHOLE
    gone_on = [state(20, "running", resumed=True), *(metric(seq, {"x": 6.0}, step=seq - 17) for seq in range(21, 24))]
    server.ingest(batch("parent", *gone_on, writer_id="w2"))
    assert _curve(server) == WHOLE
    assert (4, 6.0) in _curve(server, "parent")
    assert server.request("DELETE", "/api/v1/runs/parent").status == 200
    assert _curve(server) == WHOLE


def test_what_a_parent_logged_before_and_sent_later_is_in_its_fork(server: TrackingClient) -> None:
    _family(server)
    server.ingest(batch("parent", metric(30, {"x": 3.0}, step=5, time_ms=8_500)))
    server.ingest(batch("parent", *(metric(seq, {"y": 3.0}, step=seq - 30) for seq in range(31, 34))))
    assert _curve(server) == [*WHOLE[:3], (5, 3.0), *WHOLE[4:]]


def test_a_long_curve_that_was_inherited_is_thinned_as_any_other(server: TrackingClient) -> None:
    total = 3 * SEAL_POINTS
    peak = 1234
    frames = [metric(seq, {"x": 9.0 if seq == peak else 0.0}, step=seq) for seq in range(1, total)]
    server.ingest(batch("parent", *frames))
    server.ingest(batch("child", state(total, "running", fork={"run_id": "parent"})))
    assert server.request("DELETE", "/api/v1/runs/parent").status == 200
    answer = server.get("/api/v1/runs/child/metrics?name=x&points=10").json()
    steps = [step for step, *_ in answer["points"]]
    assert len(steps) <= 10
    assert {1, peak, total - 1} <= set(steps)
    assert len(_curve(server)) == total - 1
