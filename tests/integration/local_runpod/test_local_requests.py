"""Requests that are refused, with an answer that helps, while the process lives on."""

import json

import httpx
import pytest

from .conftest import Instance, MakeInstance

pytestmark = pytest.mark.integration

NO_WORKER = ("/no/such/program",)
RUN = "/v2/{}/run"


@pytest.fixture(scope="module")
def idle(make_instance: MakeInstance) -> Instance:
    """An instance whose endpoints may have no worker at all."""
    return make_instance(max_workers=0)


@pytest.fixture(scope="module")
def quiet(idle: Instance) -> str:
    return idle.save_endpoint("quiet")


DEEP = b'{"input": {"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b'{"input": {"a": tru}}', "not JSON"),
        (b'{"input": {"a": 1}', "not JSON"),
        (b'{"input": {"a": "\xff"}}', "not UTF-8"),
        (b"[]", "shape of a job"),
        (b"{}", 'no "input"'),
        (b'{"inputs": {}}', 'no "input"'),
        (b'{"input": "text"}', "must be a JSON object"),
        (b'{"input": null}', "must be a JSON object"),
        (b'{"input": [1]}', "must be a JSON object"),
        (b'{"input": {}, "policy": {"executionTimeout": "soon"}}', "shape of a job"),
        (DEEP, "deeper than"),
        (b'{"input": {"a": ' + b"9" * 5000 + b"}}", "digits"),
    ],
)
def test_a_bad_body_is_refused_with_its_reason(idle: Instance, quiet: str, body: bytes, said: str) -> None:
    answer = idle.client.post(RUN.format(quiet), content=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(("route", "limit_mib"), [("run", 10), ("runsync", 20)])
def test_a_body_over_the_limit_is_refused_and_one_below_is_not(
    idle: Instance, quiet: str, route: str, limit_mib: int
) -> None:
    large = json.dumps({"input": {"a": "x" * (limit_mib * 1024 * 1024)}})
    answer = idle.client.post(f"/v2/{quiet}/{route}", content=large)
    assert answer.status_code == 413
    assert f"{limit_mib} MB" in answer.json()["error"]
    fitting = json.dumps({"input": {"a": "x" * (limit_mib * 1024 * 1024 - 100)}})
    answer = idle.client.post(f"/v2/{quiet}/{route}", params={"wait": 0}, content=fitting)
    assert answer.json()["status"] == "IN_QUEUE"


def test_unknown_endpoints_and_jobs_are_not_found(idle: Instance, quiet: str) -> None:
    assert idle.client.post("/v2/nobodys/run", json={"input": {}}).status_code == 404
    assert idle.client.get(f"/v2/{quiet}/status/nothing").status_code == 404
    assert idle.client.get(f"/v2/{quiet}/stream/nothing").status_code == 404
    assert idle.client.post(f"/v2/{quiet}/cancel/nothing").status_code == 404
    assert idle.client.post(f"/v2/{quiet}/retry/nothing").status_code == 404


def test_an_id_that_a_client_remembers_from_another_home_is_adopted(
    idle: Instance, make_instance: MakeInstance
) -> None:
    elsewhere = make_instance(max_workers=0).save_endpoint("remembered")
    assert idle.client.post(RUN.format(elsewhere), json={"input": {}}).status_code == 200
    assert idle.save_endpoint("remembered") == elsewhere


def test_a_job_cancelled_before_it_began_stays_cancelled(idle: Instance, quiet: str) -> None:
    job_id = idle.run(quiet, a=1)
    for _ in range(2):
        assert idle.client.post(f"/v2/{quiet}/cancel/{job_id}").json()["status"] == "CANCELLED"


ROUTES = [
    ("POST", "/graphql"),
    ("GET", "/v1/pod/x/logs"),
    ("GET", "/v1/networkvolumes"),
    ("POST", "/v1/networkvolumes"),
    ("POST", "/v2/{}/run"),
    ("POST", "/v2/{}/runsync"),
    ("GET", "/v2/{}/status/x"),
    ("GET", "/v2/{}/stream/x"),
    ("POST", "/v2/{}/cancel/x"),
    ("POST", "/v2/{}/retry/x"),
    ("POST", "/v2/{}/purge-queue"),
    ("GET", "/v2/{}/health"),
    ("GET", "/v2/{}/metrics"),
    ("GET", "/v2/{}/job-take/x"),
    ("GET", "/v2/{}/job-take-batch/x"),
    ("GET", "/v2/{}/job-stop/x"),
    ("POST", "/v2/{}/job-done/x/y"),
    ("POST", "/v2/{}/job-stream/x/y"),
    ("GET", "/v2/{}/ping/x"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_answers_without_the_key(idle: Instance, quiet: str, method: str, path: str) -> None:
    for value in (None, b"Bearer wrong", b"Bearer", b"\xe9"):
        headers = [] if value is None else [(b"Authorization", value)]
        answer = httpx.request(method, idle.url + path.format(quiet), headers=headers, trust_env=False)
        assert answer.status_code == 401


@pytest.mark.parametrize("kept", ["Bearer {}", "{}"])
def test_the_key_is_taken_as_a_bearer_and_bare(idle: Instance, quiet: str, kept: str) -> None:
    headers = {"Authorization": kept.format(idle.key)}
    assert httpx.get(f"{idle.url}/v2/{quiet}/health", headers=headers, trust_env=False).status_code == 200


def test_a_request_as_a_visited_page_would_send_it_runs_nothing(idle: Instance, make_instance: MakeInstance) -> None:
    endpoint_id = idle.save_endpoint("visited")
    body, plain = '{"input": {"do": "echo"}}', {"Content-Type": "text/plain"}
    for headers in ({"Origin": "https://evil.example"}, {"Host": "rebound.example"}):
        for key in ({}, {"Authorization": f"Bearer {idle.key}"}):
            answer = httpx.post(
                idle.url + RUN.format(endpoint_id), content=body, headers=plain | headers | key, trust_env=False
            )
            assert answer.status_code == 403
    assert (
        httpx.post(idle.url + RUN.format(endpoint_id), content=body, headers=plain, trust_env=False).status_code == 401
    )
    assert idle.client.get(f"/v2/{endpoint_id}/health").json()["jobs"]["inQueue"] == 0


def test_a_stranger_that_knows_the_key_is_no_worker(idle: Instance, quiet: str) -> None:
    job_id = idle.run(quiet, a=1)
    assert idle.client.get(f"/v2/{quiet}/job-take/stranger").status_code == 429
    idle.client.post(f"/v2/{quiet}/job-done/stranger/{job_id}", content=b'{"output": 1}')
    assert idle.status(quiet, job_id)["status"] == "IN_QUEUE"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"query": 1}', b'{"query": "{"}', b'{"query": "{ unknown }"}', b'{"query": "{ a(b: 1e) }"}'],
)
def test_a_bad_graphql_request_is_answered_with_errors(idle: Instance, body: bytes) -> None:
    answer = idle.client.post("/graphql", content=body).json()
    assert answer.get("error") or answer["errors"][0]["message"]


@pytest.mark.parametrize("identity", ["a/b", "a b", "..", "a?b=c", "ü", "", 7])
def test_an_endpoint_gets_no_id_that_no_address_can_hold(idle: Instance, identity: object) -> None:
    query = "mutation save($input: EndpointInput!) { saveEndpoint(input: $input) { id } }"
    given = {"name": "named", "id": identity, "workersMax": 0}
    answer = idle.client.post("/graphql", json={"query": query, "variables": {"input": given}}).json()
    if identity == "":
        assert answer["data"]["saveEndpoint"]["id"], "none was given: it follows from the name"
    else:
        assert "id must be" in answer["errors"][0]["message"]


def test_network_volumes_are_made_once(idle: Instance) -> None:
    given = {"name": "data", "size": 50, "dataCenterId": "EU-RO-1"}
    made = idle.client.post("/v1/networkvolumes", json=given).json()
    assert idle.client.post("/v1/networkvolumes", json=given).json() == made
    assert idle.client.get("/v1/networkvolumes").json() == [made]
    assert made == {**given, "id": made["id"]}
