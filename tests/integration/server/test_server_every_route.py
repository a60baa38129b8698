"""Every route of the app, of every protocol: what a token must be good for, and in which words it is refused."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from starlette.routing import BaseRoute, Route

from flashtrial.core.clock import SystemClock
from flashtrial.server.access import tokens
from flashtrial.server.access.tokens import Grant, Scope
from flashtrial.server.app import ServerSettings, create_app
from testkit.tracking_server import Answer, TrackingClient, tracking_server

pytestmark = pytest.mark.integration

KEY = "ft_" + "k" * 43
MLFLOW = ("/api/2.0", "/api/3.0", "/ajax-api", "/get-artifact")
WORDS_ALONE = ("/api/runs", "/api/slug", "/ingest", "/files", "/pluto", "/dispatcher")

ASKING = re.compile(
    r"/(ajax-)?api/[23]\.0/mlflow/(runs|experiments|logged-models)/search|/ajax-api/2\.0/mlflow/metrics/get-history-bulk"
    r"|/(ajax-)?api/2\.0/mlflow/experiments/search|/ajax-api/2\.0/mlflow/searchExperiments"
    r"|/dispatcher/(get-run|is-experiment-running|get-ic-logs|get-experiment-logs)"
)
CONTROLLING = re.compile(
    r"/dispatcher/(stop|resume|delete|clone-modify)-run|/api/v1/commands|/api/v1/experiments(/\{number\}/(run-ids|receipts))?"
    r"|/(ajax-)?api/2\.0/mlflow/(runs|experiments)/(delete|restore)"
)
LISTENING = re.compile(r"/api/v1/experiments/\{number\}/inbox(/events)?")

# Health, the dashboard's files, and addresses that carry a permission of their own.
OPEN_ROUTES = {
    *("/healthz", "/readyz", "/metrics", "/pluto/get/{permit}", "/pluto/put/{permit}"),
    *("/", "/runs", "/runs/{path:path}", "/assets/{path:path}", "/favicon.svg", "/theme.js"),
}


def _places(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Method and path of each route, those of included routers too; HEAD goes where GET goes, without words."""
    for route in routes:
        if isinstance(route, Route):
            yield from ((method, route.path) for method in route.methods or () if method != "HEAD")
        else:
            yield from _places(route.original_router.routes)  # type: ignore[attr-defined]  # FastAPI's, not exported


ROUTES = sorted(set(_places(create_app(ServerSettings(Path("/nowhere"))).routes)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingClient]:
    with tracking_server(tmp_path_factory.mktemp("routes") / "home", token=KEY, requests_per_s=0.0) as client:
        yield client


def _ask(server: TrackingClient, method: str, route: str, **headers: str) -> Answer:
    return server.request(method, re.sub(r"\{[^}]*\}", "1", route), b"", headers)


def _scope(method: str, route: str) -> Scope:
    if method == "DELETE" or LISTENING.fullmatch(route) or (method == "POST" and CONTROLLING.fullmatch(route)):
        return Scope.CONTROL
    asks = method in ("GET", "HEAD") or (method == "POST" and ASKING.fullmatch(route))
    return Scope.READ if asks else Scope.WRITE


def _is_in_its_own_words(answer: Answer, path: str) -> bool:
    said = answer.json()
    if path.startswith(MLFLOW):  # what its client makes its exception of
        return set(said) == {"error_code", "message"} and said["error_code"] != "INTERNAL_ERROR"
    if path.startswith(WORDS_ALONE):
        return set(said) == {"error"} and " " in said["error"]
    return set(said) == {"error", "message"}


@pytest.mark.parametrize("prefix", ["/api/v1", "/api/2.0/mlflow", "/api/runs", "/ingest/", "/dispatcher", "/ajax-api"])
def test_each_protocol_has_routes(prefix: str) -> None:
    assert len([route for _, route in ROUTES if route.startswith(prefix)]) > 2
    assert len(ROUTES) > 150


def test_every_route_needs_the_scope_of_what_it_does(server: TrackingClient) -> None:
    """Shown a token that is good for nothing, each says what it needs."""
    token = tokens.mint(KEY, Grant("nobody", frozenset()), SystemClock().time_ms())
    needed = {}
    for method, route in ROUTES:
        answer = _ask(server, method, route, Authorization=f"Bearer {token}")
        words = re.search(rb"this needs (\w+)", answer.body)
        needed[method, route] = Scope(words[1].decode()) if words else None
        assert words is None or (answer.status == 403 and _is_in_its_own_words(answer, route)), answer.body
    guarded = {place: scope for place, scope in needed.items() if scope is not None}
    assert guarded == {place: _scope(*place) for place in guarded}
    assert set(guarded.values()) == set(Scope)
    assert {route for (_, route), scope in needed.items() if scope is None} == OPEN_ROUTES


def test_without_a_token_every_other_route_is_closed(server: TrackingClient) -> None:
    for method, route in ROUTES:
        if route not in OPEN_ROUTES:
            answer = _ask(server, method, route)
            assert answer.status in (401, 429), (method, route, answer.body)  # so many guesses are too often
            assert _is_in_its_own_words(answer, route), answer.body


@pytest.mark.parametrize(
    "foreign", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}], ids=str
)
def test_no_route_at_all_answers_foreign_pages(server: TrackingClient, foreign: dict[str, str]) -> None:
    for method, route in ROUTES:
        answer = _ask(server, method, route, Authorization=f"Bearer {KEY}", **foreign)
        assert answer.status == 403, (method, route, answer.body)
        assert _is_in_its_own_words(answer, route), answer.body
        assert "Access-Control-Allow-Origin" not in answer.headers
