"""The composed app on its one port: who may come in, on every route there is, and how much a body may weigh."""

import re
from collections.abc import Iterator

import httpx
import pytest

from testkit import free_port

from .conftest import Flashtrial

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
RUNPODS = ("/graphql", "/v1", "/v2")


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flashtrial]:
    """An instance for the module."""
    cli = Flashtrial(tmp_path_factory.mktemp("one-port") / "home")
    started = cli("up", "--detach", "--port", str(free_port()))
    assert started.returncode == 0, started.stderr
    yield cli
    assert cli("down").returncode == 0


@pytest.fixture(scope="module")
def client(cli: Flashtrial) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cli.instance()["url"], timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def routes(client: httpx.Client) -> list[tuple[str, str]]:
    """Every method and path of the app, with something in place of each parameter; the page and its files too."""
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    found = [(method.upper(), re.sub(r"{.*?}", "x", path)) for path, methods in paths.items() for method in methods]
    assert len(found) > 25
    assert {prefix for _, path in found for prefix in RUNPODS if path.startswith(prefix)} == set(RUNPODS)
    return [*found, ("GET", "/"), ("GET", "/healthz"), ("GET", "/no/such/page")]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "rebound.example"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)
def test_no_route_answers_a_visited_page(
    cli: Flashtrial, client: httpx.Client, routes: list[tuple[str, str]], headers: dict[str, str]
) -> None:
    key = {"Authorization": "Bearer " + (cli.home / "key").read_text().strip(), "Content-Type": "text/plain"}
    for method, path in routes:
        answer = client.request(method, path, headers=key | headers, content=b'{"input": {}}')
        assert answer.status_code == 403, (method, path)


def test_every_route_of_the_local_runpod_needs_the_key(client: httpx.Client, routes: list[tuple[str, str]]) -> None:
    for method, path in routes:
        if path.startswith(RUNPODS):
            assert client.request(method, path, content=b'{"input": {}}').status_code == 401, (method, path)


@pytest.mark.parametrize(("size_mib", "status"), [(17, 200), (19.9, 200), (20.1, 413)])
def test_a_body_that_runsync_takes_is_not_too_large_for_the_port(
    cli: Flashtrial, client: httpx.Client, size_mib: float, status: int
) -> None:
    query = 'mutation { saveEndpoint(input: {name: "large", workersMax: 0}) { id } }'
    endpoint_id = cli.ask("/graphql", {"query": query})["data"]["saveEndpoint"]["id"]
    key = {"Authorization": "Bearer " + (cli.home / "key").read_text().strip()}
    body = b'{"input": {"a": "' + b"x" * int(size_mib * MIB) + b'"}}'
    answer = client.post(f"/v2/{endpoint_id}/runsync?wait=0", content=body, headers=key)
    assert answer.status_code == status
    assert "20 MB" in answer.json()["error"] if status == 413 else answer.json()["status"] == "IN_QUEUE"
