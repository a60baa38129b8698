"""The ground every test stands on: a home of its own, a clean environment, and nothing left behind."""

import os
from collections.abc import Generator, Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from testkit.leaks import end_processes_beyond, holdings, names_in_real_home
from testkit.waiting import wait_until

_HERE = Path(__file__).parent
_KINDS = ("unit", "integration")
_FOREIGN = ("RUNPOD_", "FLASHTRIAL_", "PLUTO_", "MLOP_")
_KEPT = frozenset({"FLASHTRIAL_REQUIRE_BROWSER"})  # speaks to the tests themselves
_LEAK_GRACE_S = 5.0
# What is captured beside a run adds records of its own accord. Tests that count records do without it; those of
# capture, and of what users meet, ask for it again.
_UNCAPTURED = {"FLASHTRIAL_CONSOLE": "false", "FLASHTRIAL_FACTS": "false", "FLASHTRIAL_SYSTEM_MONITOR": "false"}

# How long an example takes is the machine's other work's business; how a failure is replayed is printed with it.
settings.register_profile(
    "busy_machine", settings(), deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy_machine")


def pytest_sessionstart() -> None:
    """Start the standard library's tracker of shared memory, which lives as long as this process: no test's leak."""
    resource_tracker.ensure_running()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test `unit` or `integration` by its folder, unless it says so itself."""
    for item in items:
        kind = item.path.relative_to(_HERE).parts[0] if item.path.is_relative_to(_HERE) else ""
        if kind in _KINDS and not any(item.get_closest_marker(name) for name in _KINDS):
            item.add_marker(kind)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed or logged may hold halves of characters; reports with those cannot go between processes."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Take away what the developer's shell says of our variables; one uv cache for the whole run.

    The home set here is for fixtures that live longer than a test; tests get their own from `flashtrial_home`.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_FOREIGN) and name not in _KEPT]:
            patch.delenv(name)
        patch.setenv("FLASHTRIAL_HOME", str(tmp_path_factory.mktemp("session-home")))
        for name, value in _UNCAPTURED.items():
            patch.setenv(name, value)
        if "UV_CACHE_DIR" not in os.environ:
            patch.setenv("UV_CACHE_DIR", str(tmp_path_factory.mktemp("uv-cache")))
        yield


@pytest.fixture(scope="module", autouse=True)
def nothing_leaks(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the module when, some seconds after its last test, something that it started is still there."""
    scratch = tmp_path_factory.getbasetemp()
    before = holdings(scratch)
    yield
    try:
        wait_until(lambda: not holdings(scratch).beyond(before), _LEAK_GRACE_S)
    except AssertionError:
        leaked = holdings(scratch).beyond(before)
        end_processes_beyond(before, scratch)
        if leaked:
            pytest.fail("this module left behind:\n  " + "\n  ".join(leaked), pytrace=False)


@pytest.fixture(scope="module", autouse=True)
def real_home_is_left_alone(clean_environment: None) -> Iterator[None]:
    """Fail the module when something new lies in ``~/.flashtrial``: a process that lost its FLASHTRIAL_HOME."""
    before = names_in_real_home()
    yield
    if added := sorted(names_in_real_home() - before):
        pytest.fail(f"written to the real home, by a test or by a run of your own: {added[:5]}", pytrace=False)


@pytest.fixture(autouse=True)
def flashtrial_home(clean_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This test's own FLASHTRIAL_HOME, not yet created."""
    home = tmp_path / "home"
    monkeypatch.setenv("FLASHTRIAL_HOME", str(home))
    return home
