"""Every field of every route that takes JSON, with every value that does not belong there: refused, or taken as data.

One test a route; a failure names the field and the value. What is asserted is that the server never fails: no 5xx, no
connection that is dropped, and the good answer to the good question afterwards.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from testkit.hostile import EVIL_BODIES, EVIL_VALUES, as_json
from testkit.tracking_server import Answer, TrackingClient, batch, metric, tracking_server

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(120)]

JSON = {"Content-Type": "application/json"}
MLFLOW = "/api/2.0/mlflow"

RECORDS: dict[str, dict[str, Any]] = {
    "metric": {"step": 1, "values": {"a": 1}},
    "system": {"step": 1, "values": {"a": 1}},
    "console": {"stream": "stdout", "line": 1, "text": "t"},
    "state": {
        "status": "running",
        "project": "p",
        "name": "n",
        "tags": ["t"],
        "config": {},
        "fork": {"run_id": "r", "step": 1},
        "guest": True,
        "reason": "r",
        "host": "h",
        "resumed": False,
    },
    "config": {"set": {}},
    "tags": {"add": ["x"], "remove": ["y"], "tags": []},
    "data": {"name": "n", "type": "table", "step": 1, "value": {}},
    "file": {
        "name": "n",
        "step": 1,
        "index": 0,
        "type": "image",
        "sha256": "0" * 64,
        "size": 1,
        "mime": "m/m",
        "file_name": "f",
        "caption": "c",
        "meta": {},
    },
}

NATIVE: dict[str, dict[str, Any]] = {
    "/api/v1/blobs": {"sha256": "0" * 64, "size": 1, "run_id": "r"},
    "/api/v1/heartbeat": {
        "host": "h",
        "writers": [
            {"run_id": "r", "writer_id": "w", "role": "owner", "state": "alive", "ended": False, "reason": "x"}
        ],
    },
}

PLUTO: dict[str, dict[str, Any]] = {
    "/api/runs/create": {
        "projectName": "p",
        "runName": "n",
        "config": "{}",
        "loggerSettings": "{}",
        "systemMetadata": "{}",
        "tags": [],
        "createdAt": 1,
        "updatedAt": 1,
        "externalId": None,
        "forkRunId": None,
        "forkStep": None,
        "inheritConfig": True,
        "inheritTags": True,
    },
    "/api/runs/resume": {"runId": 1, "displayId": None, "externalId": None, "projectName": "p"},
    "/api/runs/trigger": {"runId": 1},
    "/api/runs/tags/update": {"runId": 1, "tags": []},
    "/api/runs/config/update": {"runId": 1, "config": "{}"},
    "/api/runs/status/update": {"runId": 1, "status": "RUNNING", "statusMetadata": "{}"},
    "/api/runs/logName/add": {"runId": 1, "logName": ["l"], "logType": "METRIC"},
    "/api/runs/modelGraph/create": {"runId": 1, "graph": {}},
    "/api/runs/alert": {"runId": 1, "alert": {"title": "t", "body": "b", "level": "INFO", "url": "u", "timestamp": 1}},
    "/files": {"files": [{"fileName": "f", "logName": "l", "step": 1, "time": 1, "sampleIndex": 0, "caption": "c"}]},
    "/ingest/metrics": {"data": {"a": 1}, "step": 1, "time": 1},
    "/ingest/data": {"data": "{}", "step": 1, "time": 1, "dataType": "TABLE", "logName": "t"},
    "/ingest/logs": {"message": "m", "logType": "INFO", "lineNumber": 1, "time": 1},
}

EXPERIMENT, RUN = "0", "RUN"
MLFLOWS: dict[str, dict[str, Any]] = {
    "experiments/create": {"name": "x", "tags": [{"key": "k", "value": "v"}]},
    "experiments/update": {"experiment_id": EXPERIMENT, "new_name": "y"},
    "experiments/set-experiment-tag": {"experiment_id": EXPERIMENT, "key": "k", "value": "v"},
    "experiments/delete-experiment-tag": {"experiment_id": EXPERIMENT, "key": "k"},
    "experiments/search": {"filter": "", "max_results": 1, "view_type": "ALL", "order_by": ["name"], "page_token": "0"},
    "runs/create": {"experiment_id": EXPERIMENT, "run_name": "n", "tags": [], "start_time": 1, "user_id": "u"},
    "runs/update": {"run_id": RUN, "status": "RUNNING", "end_time": 1, "run_name": "n"},
    "runs/search": {
        "experiment_ids": [EXPERIMENT],
        "filter": "metrics.k > 0",
        "run_view_type": "ALL",
        "max_results": 1,
        "order_by": ["metrics.k"],
        "page_token": "0",
    },
    "runs/delete": {"run_id": RUN},
    "runs/restore": {"run_id": RUN},
    "runs/log-batch": {
        "run_id": RUN,
        "metrics": [{"key": "k", "value": 1, "timestamp": 1, "step": 1}],
        "params": [{"key": "p", "value": "v"}],
        "tags": [{"key": "t", "value": "v"}],
    },
    "runs/log-metric": {"run_id": RUN, "key": "k", "value": 1, "timestamp": 1, "step": 1},
    "runs/log-parameter": {"run_id": RUN, "key": "k", "value": "v"},
    "runs/set-tag": {"run_id": RUN, "key": "k", "value": "v"},
    "runs/delete-tag": {"run_id": RUN, "key": "k"},
    "runs/log-inputs": {"run_id": RUN, "datasets": [{"dataset": {"name": "d"}}], "models": []},
    "logged-models/search": {"experiment_ids": []},
}

# Last, because the experiment of the others is gone afterwards.
MLFLOWS_LAST: dict[str, dict[str, Any]] = {
    "experiments/delete": {"experiment_id": EXPERIMENT},
    "experiments/restore": {"experiment_id": EXPERIMENT},
}

QUERIES: dict[str, dict[str, str]] = {
    "/api/v1/runs": {
        "limit": "1",
        "project": "p",
        "status": "running",
        "tag": "t",
        "filter": "config.a=1",
        "search": "s",
        "sort": "name",
    },
    "/api/v1/projects": {"offset": "0", "limit": "1"},
    "/api/v1/tags": {"offset": "0", "limit": "1", "project": "p"},
    "/api/v1/runs/r/metrics": {"name": "x", "start": "0", "end": "9", "points": "10", "attempts": "all"},
    "/api/v1/runs/r/system": {"name": "x", "start": "0", "end": "9", "points": "10", "attempts": "all"},
    "/api/v1/runs/r/console": {"after": "0", "before": "9", "limit": "1", "stream": "stdout", "search": "s"},
    "/api/v1/runs/r/changes": {"offset": "0", "limit": "1"},
    "/api/v1/runs/r/files": {"name": "n", "type": "t", "after": "0", "limit": "1"},
    "/api/v1/runs/r/data": {"name": "n", "type": "t", "offset": "0", "limit": "1"},
    "/api/runs/list": {
        "projectName": "p",
        "search": "s",
        "limit": "1",
        "offset": "0",
        "tags": "t",
        "status": "RUNNING",
    },
    "/api/runs/metric-names": {"projectName": "p", "runIds": "1", "search": "s", "limit": "1"},
    "/api/runs/metrics": {"runId": "1", "logName": "k", "logGroup": "g", "limit": "1"},
    "/api/runs/logs": {"runId": "1", "logType": "INFO", "limit": "1", "offset": "0"},
    "/api/runs/leaderboard": {
        "projectName": "p",
        "logName": "k",
        "aggregation": "MAX",
        "direction": "DESC",
        "limit": "1",
        "offset": "0",
    },
    "/api/runs/files": {"runId": "1", "logName": "k"},
    "/api/runs/statistics": {"runId": "1", "logName": "k"},
    "/api/runs/compare": {"runIds": "1", "logName": "k"},
    f"{MLFLOW}/experiments/get": {"experiment_id": EXPERIMENT},
    f"{MLFLOW}/experiments/get-by-name": {"experiment_name": "asked for by name, and never renamed"},
    f"{MLFLOW}/experiments/search": {"max_results": "1", "filter": "", "view_type": "ALL", "page_token": "0"},
    f"{MLFLOW}/metrics/get-history": {"run_id": RUN, "metric_key": "k", "max_results": "1", "page_token": ""},
    f"{MLFLOW}/metrics/get-history-bulk-interval": {
        "run_ids": RUN,
        "metric_key": "k",
        "start_step": "0",
        "end_step": "9",
        "max_results": "1",
    },
    f"{MLFLOW}/artifacts/list": {"run_id": RUN, "path": ""},
}


class Attacked:
    """A server that has runs of each protocol, and what it answers to somebody who means harm."""

    def __init__(self, client: TrackingClient) -> None:
        self._client = client
        client.ingest(batch("r", metric(1, {"x": 1.0})))
        made = client.request("POST", "/api/runs/create", b'{"projectName": "p", "runName": "n"}', JSON)
        self._pluto_run = str(made.json()["runId"])
        made = client.request("POST", f"{MLFLOW}/runs/create", b'{"experiment_id": "0"}', JSON)
        self._mlflow_run = str(made.json()["run"]["info"]["run_id"])

    def post(self, path: str, body: bytes) -> Answer:
        return self._client.request("POST", path, self._named(body), {**JSON, "x-run-id": self._pluto_run})

    def get(self, path: str, query: Mapping[str, str]) -> Answer:
        asked = "&".join(f"{name}={quote(value.encode('utf-8', 'surrogatepass'))}" for name, value in query.items())
        return self._client.get(self._named(f"{path}?{asked}".encode()).decode())

    def _named(self, said: bytes) -> bytes:
        return said.replace(b'"RUN"', f'"{self._mlflow_run}"'.encode()).replace(
            b"=RUN", f"={self._mlflow_run}".encode()
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with tracking_server(tmp_path_factory.mktemp("evil") / "home") as client:
        named = as_json({"name": "asked for by name, and never renamed"})
        created = client.request("POST", f"{MLFLOW}/experiments/create", named, {"Content-Type": "application/json"})
        assert created.status == 200, created.body
        yield Attacked(client)


def with_evil(good: Any) -> Iterator[Any]:
    """`good` with each evil value in place of each of its fields, of maps in lists and in maps too."""
    if isinstance(good, dict):
        for name, value in good.items():
            for evil in EVIL_VALUES:
                yield {**good, name: evil}
            yield from ({**good, name: inner} for inner in with_evil(value))
    if isinstance(good, list) and good:
        yield from ([inner] for inner in with_evil(good[0]))


def assert_no_failure(answer: Answer, asked: object) -> None:
    assert answer.status < 500, f"{answer.status} for {asked!r:.300}: {answer.body[:200]!r}"
    assert answer.headers["Content-Type"].startswith("application/json")


def assert_stored(answer: Answer) -> None:
    assert answer.status == 200, answer
    assert answer.json()["results"][0]["stored"] == 1, answer


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_with_a_bad_field_is_refused_or_stored(server: Attacked, kind: str) -> None:
    record: dict[str, Any] = {"run_id": "evil", "writer_id": kind, "kind": kind, "time_ms": 1}
    for seq, body in enumerate(with_evil(RECORDS[kind]), 1):
        asked = {**record, "seq": seq, "body": body}
        assert_no_failure(server.post("/api/v1/ingest", as_json(asked)), asked)
    assert_stored(server.post("/api/v1/ingest", as_json({**record, "seq": seq + 1, "body": RECORDS[kind]})))


def test_an_envelope_with_a_bad_field_is_refused_or_stored(server: Attacked) -> None:
    record = {"run_id": "evil", "writer_id": "w", "seq": 1, "kind": "metric", "time_ms": 1, "body": RECORDS["metric"]}
    for field in record:
        for evil in EVIL_VALUES:
            assert_no_failure(server.post("/api/v1/ingest", as_json({**record, field: evil})), (field, evil))
    assert_stored(server.post("/api/v1/ingest", as_json({**record, "writer_id": "unheard of"})))


POSTS = {**NATIVE, **PLUTO, **{f"{MLFLOW}/{path}": body for path, body in MLFLOWS.items()}}


@pytest.mark.parametrize("path", POSTS)
def test_a_bad_field_of_a_body_is_refused_or_taken(server: Attacked, path: str) -> None:
    for body in with_evil(POSTS[path]):
        assert_no_failure(server.post(path, as_json(body)), body)
    good = server.post(path, as_json(POSTS[path]))
    assert good.status == 200 or b"already" in good.body, good


@pytest.mark.parametrize("path", QUERIES)
def test_a_bad_word_in_a_question_is_refused_or_taken(server: Attacked, path: str) -> None:
    for name in QUERIES[path]:
        for evil in EVIL_VALUES:
            word = evil if isinstance(evil, str) else as_json(evil).decode()
            assert_no_failure(server.get(path, {**QUERIES[path], name: word}), (name, word))
    good = server.get(path, QUERIES[path])
    assert good.status == 200, good


@pytest.mark.parametrize("sort", [{}, {"sort": "name"}])
def test_a_bad_cursor_is_refused_or_taken(server: Attacked, sort: Mapping[str, str]) -> None:
    for evil in EVIL_VALUES:
        word = evil if isinstance(evil, str) else as_json(evil).decode()
        assert_no_failure(server.get("/api/v1/runs", {**sort, "cursor": word}), word)


TAKEN_AT_TIMES = frozenset({"nothing", "a list", "a key twice", "NaN", "UTF-16"})  # each is JSON to some reader


@pytest.mark.parametrize("path", [*POSTS, "/api/v1/ingest"])
def test_a_body_that_is_no_json_map_is_refused(server: Attacked, path: str) -> None:
    for name in EVIL_BODIES.keys() - TAKEN_AT_TIMES:
        answer = server.post(path, EVIL_BODIES[name])
        assert 400 <= answer.status < 500, (name, answer)


@pytest.mark.parametrize("path", [*POSTS, "/api/v1/ingest"])
def test_a_body_of_odd_json_is_refused_or_taken(server: Attacked, path: str) -> None:
    for name in TAKEN_AT_TIMES:
        assert_no_failure(server.post(path, EVIL_BODIES[name]), name)


@pytest.mark.parametrize("path", MLFLOWS_LAST)
def test_a_bad_experiment_is_not_removed(server: Attacked, path: str) -> None:
    for body in with_evil(MLFLOWS_LAST[path]):
        answer = server.post(f"{MLFLOW}/{path}", as_json(body))
        assert_no_failure(answer, body)
        assert answer.status >= 400, (body, answer)
    experiment = server.get(f"{MLFLOW}/experiments/get", {"experiment_id": EXPERIMENT}).json()["experiment"]
    assert experiment["lifecycle_stage"] == "active"
