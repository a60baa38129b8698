"""``/metrics`` as Prometheus' own parser reads it, and ``/readyz`` while the server stops."""

import json
import logging
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flashtrial.core.log import JsonLines
from testkit.tracking_server import TrackingClient, batch, metric, tracking_server

pytestmark = pytest.mark.integration


def scraped(server: TrackingClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = server.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.body.decode()))
    assert all(family.documentation and family.type != "unknown" for family in families)
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def test_prometheus_reads_counts_sizes_and_latencies(server: TrackingClient) -> None:
    server.ingest(batch("r", metric(1, {"x": 1.0}), metric(2, {"x": 1.0})))
    server.ingest(batch("r", metric(2, {"x": 1.0})))
    assert server.get('/api/v1/runs/"nobody"\n').status in (400, 404)
    assert server.get("/api/v1/runs", Host="evil.example").status == 403
    found = scraped(server)
    assert found["flashtrial_records_stored_total", frozenset()] == 2
    assert found["flashtrial_records_duplicate_total", frozenset()] == 1
    assert found["flashtrial_ingest_waiting", frozenset()] == 0
    assert found["flashtrial_database_bytes", frozenset()] > 4096
    assert found["flashtrial_blob_bytes", frozenset()] == 0
    ingest = {("method", "POST"), ("route", "/api/v1/ingest")}
    assert found["flashtrial_http_requests_total", frozenset({*ingest, ("status", "200")})] == 2
    seconds = "flashtrial_http_request_duration_seconds"
    assert found[f"{seconds}_count", frozenset(ingest)] == 2
    assert found[f"{seconds}_bucket", frozenset({*ingest, ("le", "+Inf")})] == 2
    assert 0 < found[f"{seconds}_sum", frozenset(ingest)] < 20
    refused = {("method", "GET"), ("route", "none"), ("status", "403")}
    assert found["flashtrial_http_requests_total", frozenset(refused)] == 1


def test_no_client_makes_a_series_of_its_own(server: TrackingClient) -> None:
    for number in range(20):
        server.get(f"/api/v1/runs/nobody-{number}")
        server.get(f"/no/such/{number}")
        server.request(f"METHOD{number}", "/healthz")
    names = {dict(labels).get("route") for _, labels in scraped(server)}
    assert not [name for name in names if name and any(digit in name for digit in "0123456789") and "/api/" not in name]
    assert len(scraped(server)) < 200


def test_each_request_is_a_line_of_json_where_asked_for(
    flashtrial_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flashtrial.server.access.meter")
    with tracking_server(flashtrial_home, access_log=True) as server:
        server.get("/api/v1/runs/a%0Ab?token=in-the-query")
    [record] = [record for record in caplog.records if getattr(record, "action", "") == "request"]
    line = JsonLines().format(record)
    assert "\n" not in line
    assert "in-the-query" not in line
    said = json.loads(line)
    assert (said["action"], said["method"], said["status"], said["level"]) == ("request", "GET", 404, "INFO")
    assert said["duration_ms"] > 0
    assert "\n" not in record.getMessage()
