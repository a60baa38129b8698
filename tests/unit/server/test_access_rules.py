"""Which scope a request needs, and how often a client may ask."""

import pytest

from flashtrial.server.access.bearer import scope_of
from flashtrial.server.access.rates import Rates
from flashtrial.server.access.tokens import Scope
from flashtrial.testing.clock import FakeClock

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/api/v1/runs", Scope.READ),
        ("HEAD", "/api/v1/runs", Scope.READ),
        ("POST", "/api/v1/ingest", Scope.WRITE),
        ("POST", "/api/v1/heartbeat", Scope.WRITE),
        ("PUT", "/api/v1/blobs/00", Scope.WRITE),
        ("DELETE", "/api/v1/runs/r", Scope.CONTROL),
        ("POST", "/api/2.0/mlflow/runs/search", Scope.READ),
        ("POST", "/api/2.0/mlflow/runs/log-batch", Scope.WRITE),
        ("POST", "/api/2.0/mlflow/runs/delete", Scope.CONTROL),
        ("POST", "/api/2.0/mlflow/runs/delete/", Scope.CONTROL),
        ("PUT", "/api/v1/search", Scope.WRITE),
        ("POST", "/dispatcher/stop-run", Scope.CONTROL),
        ("GET", "/dispatcher/get-all-runs", Scope.READ),
        ("POST", "/dispatcher/get-run", Scope.READ),
        ("POST", "/dispatcher/is-experiment-running", Scope.READ),
        ("POST", "/dispatcher/delete-run", Scope.CONTROL),
        ("POST", "/api/v1/commands", Scope.CONTROL),
        ("DELETE", "/api/v1/commands/c", Scope.CONTROL),
        ("GET", "/api/v1/commands", Scope.READ),
        ("POST", "/api/v1/experiments", Scope.CONTROL),
        ("POST", "/api/v1/experiments/1/receipts", Scope.CONTROL),
        ("GET", "/api/v1/experiments/1/inbox", Scope.CONTROL),
        ("GET", "/api/v1/experiments/1/inbox/events", Scope.CONTROL),
        ("GET", "/api/v1/experiments/1/trials", Scope.READ),
        ("GET", "/api/v1/runs/x/inbox", Scope.READ),
        ("BREW", "/api/v1/runs", Scope.WRITE),
    ],
)
def test_a_request_needs_the_scope_of_what_it_does(method: str, path: str, scope: Scope) -> None:
    assert scope_of(method, path) is scope


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    clock = FakeClock()
    rates = Rates(clock, per_s=10.0, burst=3.0)
    assert [rates.wait_s("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rates.wait_s("a") == pytest.approx(0.1)
    assert rates.wait_s("b") == 0.0
    clock.advance(0.1)
    assert rates.wait_s("a") == 0.0
    assert rates.wait_s("a") == pytest.approx(0.1)


def test_refused_requests_do_not_make_the_wait_longer() -> None:
    rates = Rates(FakeClock(), per_s=1.0, burst=1.0)
    rates.wait_s("a")
    assert {rates.wait_s("a") for _ in range(100)} == {1.0}


def test_no_rate_is_no_limit() -> None:
    rates = Rates(FakeClock(), per_s=0.0, burst=0.0)
    assert not any(rates.wait_s("a") for _ in range(10_000))


def test_strangers_without_number_take_no_memory_without_end() -> None:
    rates = Rates(FakeClock(), per_s=1.0, burst=1.0)
    for number in range(25_000):
        rates.wait_s(f"client-{number}")
    assert rates.wait_s("client-24999") > 0
    assert len(rates) <= 10_000
