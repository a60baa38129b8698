"""The page of one run in a real browser."""

import re

import pytest
from playwright.sync_api import Page, expect

from .conftest import DashboardServer
from .sweep import MARKUP, POINTS, run_id

pytestmark = [pytest.mark.integration, pytest.mark.browser]


def test_a_deep_link_shows_the_run_with_its_configuration_charts_and_console(
    page: Page, sweep_server: DashboardServer
) -> None:
    page.goto(f"{sweep_server.url}/runs/{run_id(3)}")
    detail = page.get_by_test_id("run-detail")
    expect(detail.get_by_role("heading", name="trial-3")).to_be_visible()
    expect(detail.locator(".chip")).to_have_text("failed")
    expect(detail.get_by_text("ValueError: the loss is NaN")).to_be_visible()
    expect(detail.get_by_test_id("config").get_by_role("row", name=re.compile("optimizer.lr.*0.025"))).to_be_visible()
    expect(detail.locator('[data-testid="chart"][data-metric="accuracy"]')).to_have_attribute(
        "data-points", str(POINTS)
    )
    expect(page).to_have_title("trial-3 · flashtrial")


def test_the_console_shows_lines_without_terminal_colours_and_markup_as_text(
    page: Page, sweep_server: DashboardServer
) -> None:
    page.goto(f"{sweep_server.url}/runs/{run_id(2)}")
    lines = page.get_by_test_id("console").get_by_role("log").locator("div")
    expect(lines).to_have_text(["hello from 2", "<b>careful 2</b>"])
    expect(lines.nth(1)).to_have_class("stderr")


def test_a_run_named_in_markup_has_a_page_that_shows_it_as_text(page: Page, sweep_server: DashboardServer) -> None:
    page.goto(f"{sweep_server.url}/runs/{run_id(7)}")
    expect(page.get_by_role("heading", level=1)).to_have_text(MARKUP)
    assert page.locator("img").count() == 0


def test_a_click_opens_a_run_and_back_leads_to_the_same_filter(page: Page, sweep_server: DashboardServer) -> None:
    page.goto(f"{sweep_server.url}/?q=trial-4")
    page.get_by_role("link", name="trial-4").click()
    expect(page).to_have_url(f"{sweep_server.url}/runs/{run_id(4)}")
    expect(page.get_by_test_id("run-detail")).to_be_visible()
    page.go_back()
    expect(page.get_by_test_id("filter")).to_have_value("trial-4")
    expect(page.locator("tr[data-run-id]")).to_have_count(1)


def test_an_unknown_run_is_said_to_be_unknown(page: Page, sweep_server: DashboardServer, problems: list[str]) -> None:
    page.goto(f"{sweep_server.url}/runs/run_nowhere")
    expect(page.get_by_test_id("no-such-run")).to_contain_text("run_nowhere")
    # Chromium itself reports every 404 as an error.
    assert all("404" in problem for problem in problems)
    problems.clear()
