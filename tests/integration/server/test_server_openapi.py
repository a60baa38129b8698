"""schemathesis over the OpenAPI description: whatever fits it, or breaks it, gets an answer that is described there.

Pluto's and MLflow's routes are not described here; `test_server_evil_values` goes through theirs by hand. Streams are
left out, since they have no end.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from flashtrial.server.app import ServerSettings, create_app
from testkit.tracking_server import TrackingClient, batch, metric, tracking_server

pytestmark = [pytest.mark.integration, pytest.mark.slow]

EXAMPLES = 15
CHECKS = [not_a_server_error, response_schema_conformance, status_code_conformance]
DESCRIPTION: dict[str, Any] = create_app(ServerSettings(Path("/nowhere"))).openapi()
OPERATIONS = sorted(
    (method.upper(), path)
    for path, methods in DESCRIPTION["paths"].items()
    for method in methods
    if not path.endswith("/events")
)
# What answers with no JSON, and the one type that it answers with.
OTHERWISE = {
    "/api/v1/blobs/{sha256}": "*/*",
    "/api/v1/runs/{run_id}/files/{file_id}/content": "*/*",
    "/metrics": "text/plain",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingClient]:
    with tracking_server(tmp_path_factory.mktemp("described") / "home") as client:
        client.ingest(batch("r", metric(1, {"x": 1.0})))
        yield client


def test_every_operation_says_what_it_answers() -> None:
    assert len(OPERATIONS) >= 45
    for method, path in OPERATIONS:
        answers = DESCRIPTION["paths"][path][method.lower()]["responses"]
        if not path.startswith("/dispatcher/"):  # whose answers are fixed by another program's clients
            content = answers["200"]["content"]
            if path in OTHERWISE and method == "GET":
                assert content.keys() == {OTHERWISE[path]}
            else:
                assert content["application/json"]["schema"], (method, path)
        if path.startswith("/api/"):
            assert {"401", "403", "422"} <= answers.keys(), (method, path)


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_answers_are_as_described(server: TrackingClient, method: str, path: str, mode: GenerationMode) -> None:
    operation = schemathesis.openapi.from_dict(DESCRIPTION)[path][method]
    asked = 0

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def explore(case: schemathesis.Case[Any]) -> None:
        nonlocal asked
        asked += 1
        answer = case.call(base_url=f"http://127.0.0.1:{server.port}", timeout=20)
        case.validate_response(answer, checks=CHECKS if path.startswith("/api/") else CHECKS[:1])

    takes_nothing = contextlib.suppress(Unsatisfiable)  # and so cannot be asked wrongly
    with takes_nothing if mode is GenerationMode.NEGATIVE else contextlib.nullcontext():
        explore()
    assert asked or mode is GenerationMode.NEGATIVE
