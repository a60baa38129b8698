"""Who may use the dispatcher: pages of local front ends, holders of the right token, and nobody else's page."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.core.clock import SystemClock
from flashtrial.server.access import tokens
from flashtrial.server.access.tokens import Grant, Scope
from testkit.control import Experiment, dispatcher, post
from testkit.tracking_server import TrackingClient, tracking_server

pytestmark = pytest.mark.integration

KEY = "ft_" + "k" * 43
FRONT_END = "http://localhost:3000"
BODY = {"run_id": 4_000_000}


@pytest.fixture(scope="module")
def guarded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded") / "home"


@pytest.fixture(scope="module")
def guarded(guarded_home: Path) -> Iterator[TrackingClient]:
    with tracking_server(guarded_home, token=KEY, receipt_wait_s=0.05) as server:
        yield server


@pytest.mark.parametrize("origin", [FRONT_END, "http://localhost", "http://localhost:8853", "http://127.0.0.1:3000"])
def test_pages_of_local_front_ends_may_command(server: TrackingClient, origin: str) -> None:
    page = {"Origin": origin, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}
    answer = dispatcher(server, "stop-run", BODY, **page)
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (404, origin)


def test_preflights_of_local_front_ends_are_answered(server: TrackingClient) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = server.request("OPTIONS", "/dispatcher/stop-run", headers={"Origin": FRONT_END, **asked})
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == FRONT_END
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://localhost:3001", "null", "http://localhost:3000.evil"]
)
def test_pages_of_others_neither_command_nor_read(server: TrackingClient, origin: str) -> None:
    for answer in (
        dispatcher(server, "stop-run", BODY, Origin=origin),
        dispatcher(server, "get-all-runs", Origin=origin),
        server.request("OPTIONS", "/dispatcher/stop-run", headers={"Origin": origin}),
    ):
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_front_end_that_is_admitted_to_the_dispatcher_is_not_to_the_rest(experiment: Experiment) -> None:
    body = {"experiment": experiment.number, "run_id": 1, "kind": "stop"}
    assert post(experiment.server, "/api/v1/commands", body, Origin=FRONT_END).status == 403
    assert experiment.inbox().json()["commands"] == []


def test_a_host_that_is_not_ours_is_refused_whatever_the_origin(server: TrackingClient) -> None:
    assert dispatcher(server, "stop-run", BODY, Host="evil.example", Origin=FRONT_END).status == 403


def test_more_origins_can_be_admitted(tmp_path: Path) -> None:
    with tracking_server(tmp_path / "home", dispatcher_origins=("https://lab.example",)) as server:
        assert dispatcher(server, "health-check", Origin="https://lab.example").status == 200
        assert dispatcher(server, "health-check", Origin="https://lab.example:1").status == 403


def test_off_loopback_the_dispatcher_needs_a_token_of_the_right_scope(
    guarded: TrackingClient, guarded_home: Path
) -> None:
    assert dispatcher(guarded, "get-all-runs").status == 401
    read, control = _token(guarded_home, Scope.READ), _token(guarded_home, Scope.CONTROL)
    for route in ("get-run", "is-experiment-running", "get-ic-logs", "get-experiment-logs"):
        assert dispatcher(guarded, route, BODY, **read).status != 403
    for route in ("stop-run", "resume-run", "delete-run", "clone-modify-run"):
        assert dispatcher(guarded, route, BODY, **read).status == 403
        assert dispatcher(guarded, route, {**BODY, "config": {}}, **control).status == 404


def test_only_a_token_for_control_commands_or_takes_over(guarded: TrackingClient, guarded_home: Path) -> None:
    body = {"name": "x", "controller_id": "c"}
    for scope, status in ((Scope.READ, 403), (Scope.WRITE, 403), (Scope.CONTROL, 200)):
        who = _token(guarded_home, scope)
        assert post(guarded, "/api/v1/experiments", body, **who).status == status
        assert guarded.get("/api/v1/experiments/1/inbox?epoch=1", **who).status == status
    command = {"experiment": 1, "run_id": 1, "kind": "stop"}
    assert post(guarded, "/api/v1/commands", command, **_token(guarded_home, Scope.WRITE)).status == 403
    assert post(guarded, "/api/v1/commands", command, **_token(guarded_home, Scope.CONTROL)).status == 404


def _token(home: Path, scope: Scope) -> dict[str, str]:
    token = tokens.issue(home, KEY, Grant("box", frozenset({scope})), SystemClock().time_ms())
    return {"Authorization": f"Bearer {token}"}


def test_a_body_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with tracking_server(tmp_path / "home", max_body_bytes=1000) as server:
        begun_body = {"run_id": 1, "config": {"x": "y" * 2000}}
        assert dispatcher(server, "clone-modify-run", begun_body).status == 413
