"""A real server in a process of its own, real Chromium, and runs that were ingested over HTTP."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from flashtrial.server.settings import STATIC_DIR
from testkit.tracking_server import TrackingClient
from testkit.waiting import wait_until

from .sweep import eight_runs

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DEADLINE_MS = 15_000


class DashboardServer:
    """A server of `home` that can be killed and started again on the same port."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self.client = TrackingClient(0)
        home.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.client.port}"

    def start(self) -> None:
        """Start serving; returns when the server answers."""
        port_file = self._home / "port"
        port_file.unlink(missing_ok=True)
        script = Path(__file__).with_name("serve_dashboard.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(port_file), str(self.client.port)],
            env={**os.environ, "FLASHTRIAL_HOME": str(self._home)},
        )
        wait_until(port_file.exists, 30, "the server's port")
        self.client.close()
        self.client = TrackingClient(int(port_file.read_text()))
        # The port is open before the server is: the request waits in its queue.
        assert self.client.get("/readyz").status == 200

    def kill(self) -> None:
        """End the process as a crash does; nothing when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
        self._process = None
        self.client.close()


@pytest.fixture
def dashboard(flashtrial_home: Path) -> Iterator[DashboardServer]:
    """A running server without runs. Named before `page` by a test, so that the page closes before the server ends."""
    server = DashboardServer(flashtrial_home)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def sweep_server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DashboardServer]:
    """A running server with the eight runs of `sweep`, for tests that only look."""
    server = DashboardServer(tmp_path_factory.mktemp("sweep") / "home")
    try:
        server.start()
        server.client.ingest(*eight_runs())
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def browser(nothing_leaks: None) -> Iterator[Browser]:
    """Headless Chromium. Skips, saying why, where there is none; with FLASHTRIAL_REQUIRE_BROWSER=1 that fails."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        _do_without("no Chromium on PATH; on Debian: apt-get install --no-install-recommends chromium")
    if not (STATIC_DIR / "index.html").is_file():
        _do_without("the dashboard is not built: scripts/build_dashboard.sh")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


def _do_without(reason: str) -> NoReturn:
    if os.environ.get("FLASHTRIAL_REQUIRE_BROWSER") == "1":
        pytest.fail(f"FLASHTRIAL_REQUIRE_BROWSER=1, and {reason}")
    pytest.skip(reason)


@pytest.fixture
def problems() -> list[str]:
    """What the browser complained of. `page` fails a test that leaves anything in it."""
    return []


@pytest.fixture
def page(browser: Browser, problems: list[str]) -> Iterator[Page]:
    """An empty page of a browser that remembers nothing; errors on its console fail the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(DEADLINE_MS)
    page = context.new_page()
    page.on("console", _collector(problems))
    page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
    yield page
    context.close()
    assert problems == []


def _collector(problems: list[str]) -> Callable[[ConsoleMessage], None]:
    def collect(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            problems.append(f"{message.type}: {message.text}")

    return collect
