"""The first page in a real browser: the table of runs, and their charts over each other."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from testkit.tracking_server import batch, metric, state

from .conftest import DashboardServer
from .sweep import MARKUP, POINTS, run_id

pytestmark = [pytest.mark.integration, pytest.mark.browser]


@pytest.fixture
def runs_page(page: Page, sweep_server: DashboardServer) -> Page:
    page.goto(sweep_server.url)
    expect(rows(page)).to_have_count(8)
    return page


def rows(page: Page) -> Locator:
    return page.get_by_test_id("runs-table").locator("tbody tr[data-run-id]")


def chart(page: Page, metric: str) -> Locator:
    return page.locator(f'[data-testid="chart"][data-metric="{metric}"]')


def ids_in_order(page: Page) -> list[str | None]:
    return [row.get_attribute("data-run-id") for row in rows(page).all()]


def heading(page: Page, label: str) -> Locator:
    return page.get_by_test_id("runs-table").get_by_role("columnheader", name=label, exact=True)


def test_eight_runs_are_eight_rows_and_each_metric_is_a_chart_with_all_their_points(runs_page: Page) -> None:
    expect(chart(runs_page, "accuracy")).to_have_attribute("data-points", str(8 * POINTS))
    expect(chart(runs_page, "train/lr")).to_have_attribute("data-points", str(8 * POINTS))
    expect(chart(runs_page, "accuracy").locator("canvas")).to_be_visible()
    expect(runs_page.locator("details.section summary")).to_have_text([re.compile("Metrics"), re.compile("train")])


def test_a_point_that_is_not_finite_is_a_gap_and_said(runs_page: Page) -> None:
    expect(chart(runs_page, "loss")).to_have_attribute("data-points", str(8 * POINTS - 5))
    expect(chart(runs_page, "loss").get_by_text("5 not finite")).to_be_visible()
    expect(rows(runs_page).filter(has_text="trial-3").get_by_text("NaN")).to_be_visible()


def test_a_name_that_is_markup_is_shown_as_text(runs_page: Page) -> None:
    expect(runs_page.get_by_role("link", name=MARKUP)).to_be_visible()
    assert runs_page.locator("img").count() == 0


def test_columns_are_the_metrics_and_the_configuration_that_differs(runs_page: Page) -> None:
    for label in ("Status", "accuracy", "loss", "train/lr", "batch_size", "optimizer.lr", "Project", "Created"):
        expect(heading(runs_page, label)).to_have_count(1)
    expect(heading(runs_page, "optimizer.name")).to_have_count(0)


def test_a_click_on_a_metric_sorts_the_best_to_the_top_and_the_next_the_worst(runs_page: Page) -> None:
    heading(runs_page, "accuracy").get_by_role("button").click()
    expect(heading(runs_page, "accuracy")).to_have_attribute("aria-sort", "descending")
    assert ids_in_order(runs_page)[:3] == [run_id(5), run_id(6), run_id(4)]
    heading(runs_page, "accuracy").get_by_role("button").click()
    expect(heading(runs_page, "accuracy")).to_have_attribute("aria-sort", "ascending")
    assert ids_in_order(runs_page)[0] == run_id(0)


def test_a_run_without_a_finite_value_sorts_last_both_ways(runs_page: Page) -> None:
    heading(runs_page, "loss").get_by_role("button").click()
    expect(heading(runs_page, "loss")).to_have_attribute("aria-sort", "ascending")
    order = ids_in_order(runs_page)
    heading(runs_page, "loss").get_by_role("button").click()
    expect(heading(runs_page, "loss")).to_have_attribute("aria-sort", "descending")
    assert (order[0], order[-1]) == (run_id(0), run_id(3))
    assert ids_in_order(runs_page)[-1] == run_id(3)


FILTERS = {
    "trial-6": [6],
    "status:failed": [3],
    "batch_size=64 -status:failed": [7, 5, 1],
    "lr>=0.05": [1, 0],
    "accuracy>0.9": [7, 6, 5, 4, 3],
    "tag:baseline": [0],
    "": [7, 6, 5, 4, 3, 2, 1, 0],
    "<img": [7],
}


def test_the_filter_narrows_the_table_and_the_charts(runs_page: Page) -> None:
    for query, found in FILTERS.items():
        runs_page.get_by_test_id("filter").fill(query)
        expect(rows(runs_page)).to_have_count(len(found))
        assert ids_in_order(runs_page) == [run_id(number) for number in found], query
        expect(chart(runs_page, "accuracy")).to_have_attribute("data-points", str(len(found) * POINTS))


def test_a_filter_that_nothing_passes_says_so(runs_page: Page) -> None:
    runs_page.get_by_test_id("filter").fill("no such thing")
    expect(runs_page.get_by_text("No run passes the filter")).to_be_visible()


def test_an_unticked_run_leaves_the_charts_and_stays_in_the_table(runs_page: Page) -> None:
    runs_page.get_by_label("Draw trial-2").uncheck()
    expect(chart(runs_page, "accuracy")).to_have_attribute("data-points", str(7 * POINTS))
    expect(rows(runs_page)).to_have_count(8)
    runs_page.get_by_label("Draw all runs").check()
    expect(chart(runs_page, "accuracy")).to_have_attribute("data-points", str(8 * POINTS))


def test_the_values_under_the_cursor_are_read_out(runs_page: Page) -> None:
    expect(chart(runs_page, "accuracy")).to_have_attribute("data-points", str(8 * POINTS))
    chart(runs_page, "accuracy").locator(".u-over").hover()
    readout = chart(runs_page, "accuracy").locator(".readout")
    expect(readout.locator("tr")).to_have_count(8)
    expect(readout).to_contain_text("step 1")
    expect(readout.locator("tr").first).to_contain_text("trial-5")


def test_axes_and_smoothing_redraw_the_same_points(runs_page: Page) -> None:
    runs_page.get_by_label("Smoothing").fill("0.8")
    for axis in ("Time", "Relative", "Step"):
        runs_page.get_by_role("radio", name=axis).check(force=True)
        expect(chart(runs_page, "accuracy")).to_have_attribute("data-points", str(8 * POINTS))
        expect(chart(runs_page, "accuracy").get_by_role("img")).to_have_attribute(
            "aria-label", f"accuracy by {axis.lower()}, 8 runs"
        )


def test_how_charts_look_and_the_theme_are_remembered(runs_page: Page) -> None:
    runs_page.get_by_role("button", name="Log y").click()
    before = runs_page.locator("html").get_attribute("data-theme")
    runs_page.get_by_test_id("theme").click()
    runs_page.reload()
    expect(runs_page.get_by_role("button", name="Log y")).to_have_attribute("aria-pressed", "true")
    after = runs_page.locator("html").get_attribute("data-theme")
    assert {before, after} == {"light", "dark"}


def test_the_keyboard_reaches_filter_sorting_and_runs(runs_page: Page) -> None:
    runs_page.keyboard.press("/")
    expect(runs_page.get_by_test_id("filter")).to_be_focused()
    runs_page.keyboard.type("trial-4")
    expect(rows(runs_page)).to_have_count(1)
    runs_page.keyboard.press("Escape")
    expect(rows(runs_page)).to_have_count(8)
    heading(runs_page, "accuracy").get_by_role("button").focus()
    runs_page.keyboard.press("Enter")
    expect(heading(runs_page, "accuracy")).to_have_attribute("aria-sort", "descending")
    runs_page.get_by_role("link", name="trial-1").focus()
    runs_page.keyboard.press("Enter")
    expect(runs_page.get_by_test_id("run-detail")).to_have_attribute("data-run-id", run_id(1))


def test_nothing_is_asked_of_any_other_host(page: Page, sweep_server: DashboardServer) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(sweep_server.url)
    expect(chart(page, "accuracy")).to_have_attribute("data-points", str(8 * POINTS))
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(sweep_server.url).netloc}
    assert len(asked) > 5


ODD_VALUES = (0.0, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), float("nan"), -1.0)


def test_odd_numbers_and_names_are_drawn_or_passed_over_and_the_page_lives(
    dashboard: DashboardServer, page: Page
) -> None:
    odd = [metric(2 + place, {"odd": value, "same": 7.0}, step=place) for place, value in enumerate(ODD_VALUES)]
    far = metric(20, {"one": 1.0, "odd": 2.0}, step=2**53 - 1)
    many = metric(21, {f"layer {number}/🔥\u202e<b>": float(number) for number in range(300)})
    dashboard.client.ingest(batch("r", state(1, "running", name="😀 " * 200), *odd, far, many))
    page.goto(dashboard.url)
    expect(chart(page, "odd")).to_have_attribute("data-points", "6")
    expect(chart(page, "same")).to_have_attribute("data-points", "8")
    expect(chart(page, "one")).to_have_attribute("data-points", "1")
    page.get_by_role("button", name="Log y").click()
    expect(chart(page, "odd")).to_have_attribute("data-points", "3")
    page.get_by_label("Smoothing").fill("0.9")
    expect(chart(page, "odd").get_by_role("img")).to_be_visible()
