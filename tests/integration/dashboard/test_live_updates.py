"""What happens on the server is seen in an open page, without a reload."""

import pytest
from playwright.sync_api import Page, expect

from testkit.tracking_server import batch, metric, state

from .conftest import DashboardServer

pytestmark = [pytest.mark.integration, pytest.mark.browser]

LOSS = '[data-testid="chart"][data-metric="loss"]'


def test_an_empty_page_says_how_to_begin_and_shows_the_first_run_when_it_comes(
    dashboard: DashboardServer, page: Page
) -> None:
    page.goto(dashboard.url)
    expect(page.get_by_test_id("empty")).to_contain_text("flashtrial.init(")
    expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "live")
    dashboard.client.ingest(batch("first", state(1, "running", name="first"), metric(2, {"loss": 0.5})))
    expect(page.locator("tr[data-run-id=first]")).to_be_visible()
    expect(page.locator(LOSS)).to_have_attribute("data-points", "1")


def test_new_points_and_the_end_of_a_run_arrive_by_themselves(dashboard: DashboardServer, page: Page) -> None:
    dashboard.client.ingest(batch("r", state(1, "running", name="r"), metric(2, {"loss": 0.5})))
    page.goto(dashboard.url)
    expect(page.locator(LOSS)).to_have_attribute("data-points", "1")
    dashboard.client.ingest(batch("r", metric(3, {"loss": 0.25}), metric(4, {"loss": 0.125})))
    expect(page.locator(LOSS)).to_have_attribute("data-points", "3")
    expect(page.locator("tr[data-run-id=r]")).to_contain_text("0.1250")
    dashboard.client.ingest(batch("r", state(5, "finished")))
    expect(page.locator("tr[data-run-id=r] .chip")).to_have_text("finished")


def test_only_the_run_that_changed_is_asked_for_again(dashboard: DashboardServer, page: Page) -> None:
    for name in ("quiet", "busy"):
        dashboard.client.ingest(batch(name, state(1, "running", name=name), metric(2, {"loss": 0.5})))
    page.goto(dashboard.url)
    expect(page.locator(LOSS)).to_have_attribute("data-points", "2")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    dashboard.client.ingest(batch("busy", metric(3, {"loss": 0.25})))
    expect(page.locator(LOSS)).to_have_attribute("data-points", "3")
    assert asked
    assert all("/api/v1/runs/busy" in url for url in asked)


def test_a_line_printed_meanwhile_appears_in_the_console(dashboard: DashboardServer, page: Page) -> None:
    dashboard.client.ingest(batch("r", state(1, "running", name="r")))
    page.goto(f"{dashboard.url}/runs/r")
    expect(page.get_by_test_id("console")).to_contain_text("Nothing printed")
    line = '{"run_id":"r","writer_id":"w1","seq":2,"kind":"console","time_ms":5000,"body":'
    line += '{"stream":"stdout","line":1,"text":"epoch 1 done"}}'
    assert dashboard.client.post(line.encode(), "application/x-ndjson").status == 200
    expect(page.get_by_test_id("console").get_by_text("epoch 1 done")).to_be_visible()


def test_a_page_whose_server_dies_says_so_and_catches_up_when_it_is_back(
    dashboard: DashboardServer, page: Page, problems: list[str]
) -> None:
    dashboard.client.ingest(batch("r", state(1, "running", name="r"), metric(2, {"loss": 0.5})))
    page.goto(dashboard.url)
    expect(page.locator(LOSS)).to_have_attribute("data-points", "1")
    dashboard.kill()
    connection = page.get_by_test_id("connection")
    expect(connection).to_have_attribute("data-state", "disconnected")
    expect(page.locator("tr[data-run-id=r]")).to_be_visible()
    dashboard.start()
    dashboard.client.ingest(batch("r", metric(3, {"loss": 0.25})))
    expect(connection).to_have_attribute("data-state", "live", timeout=40_000)
    expect(page.locator(LOSS)).to_have_attribute("data-points", "2")
    # Chromium itself reports every refused connection as an error.
    assert all("net::ERR_" in problem for problem in problems)
    problems.clear()
