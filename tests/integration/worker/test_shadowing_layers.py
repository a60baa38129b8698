"""Layers with modules named like those of Python and of the worker: the worker itself is never touched."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from flashtrial.worker.entrypoint import Worker
from flashtrial.worker.ledger import MemoryLedger
from flashtrial.worker.log_streamer import LogStreamer
from testkit.jobs import function_job
from testkit.wheels import make_source, make_wheel, offline

WHOSE = """
def f(name):
    import importlib
    return importlib.import_module(name).whose
"""
PLAIN = "def f(x):\n    import json, ormsgpack, pydantic, cloudpickle\n    return json.loads(json.dumps(x))"
OURS = ["pydantic", "packaging", "uv", "urllib3"]
OF_EVERY_CHILD = ["ormsgpack", "cloudpickle"]
OF_PYTHON = ["json", "logging", "signal", "pickle", "asyncio", "types"]
BREAKS = "raise RuntimeError('a module of the layer was imported by the worker')\n"


@pytest.fixture(autouse=True)
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in offline(tmp_path / "links").items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UV_CACHE_DIR")
    return tmp_path / "links"


@pytest.fixture
async def working(flashtrial_home: Path) -> AsyncIterator[Worker]:
    worker = Worker("worker-under-test", flashtrial_home, MemoryLedger("worker-under-test"))
    yield worker
    await worker.close()


@pytest.mark.parametrize("module", OURS)
async def test_package_named_like_one_of_ours_is_the_calls_and_not_the_workers(
    working: Worker, links: Path, module: str
) -> None:
    make_wheel(links, module, "99.0", files={f"{module}/__init__.py": "whose = 'the layer'\n"})
    own = await working.handle(function_job(WHOSE, "f", module, dependencies=[f"{module}==99.0"]))
    assert own.get("json_result") == "the layer", own
    plain = await working.handle(function_job(PLAIN, "f", {"a": [1]}))
    assert plain["json_result"] == {"a": [1]}, plain


@pytest.mark.parametrize("module", OF_EVERY_CHILD)
async def test_package_that_every_child_stands_on_stays_the_workers_and_the_answer_says_so(
    working: Worker, links: Path, streamed: None, module: str
) -> None:
    make_wheel(links, module, "99.0", files={f"{module}/__init__.py": BREAKS})
    job = function_job("def f(name): return __import__(name).__file__", "f", module, dependencies=[f"{module}==99.0"])
    answer = await working.handle(job)
    assert "layers" not in answer["json_result"]
    assert f"the layer's {module} is not used" in answer["stdout"]


@pytest.mark.parametrize("module", OF_PYTHON)
async def test_package_that_shadows_the_standard_library_leaves_the_worker_as_it_is(
    working: Worker, links: Path, module: str
) -> None:
    make_wheel(links, "shadow", files={f"{module}.py": BREAKS, "shadow.py": "whose = 'the layer'\n"})
    hurt = await working.handle(function_job(WHOSE, "f", "shadow", dependencies=["shadow"]))
    assert hurt["success"] or hurt["error_kind"] in ("user_code", "worker_lost"), hurt
    plain = await working.handle(function_job(PLAIN, "f", {"a": [1]}))
    assert plain["json_result"] == {"a": [1]}, plain


@pytest.fixture
def streamed() -> Iterator[None]:
    """The worker's own lines go into answers, as its entry point has it."""
    package, streamer = logging.getLogger("flashtrial"), LogStreamer(logging.INFO)
    level = package.level
    package.setLevel(logging.INFO)
    package.addHandler(streamer)
    yield
    package.removeHandler(streamer)
    package.setLevel(level)


async def test_requests_that_share_a_build_all_see_it_in_their_answers(
    working: Worker, links: Path, streamed: None
) -> None:
    make_wheel(links, "tiny", files={"tiny.py": "whose = 'the layer'\n"})
    jobs = [function_job(WHOSE, "f", "tiny", dependencies=["tiny"]) for _ in range(3)]
    for answer in await asyncio.gather(*map(working.handle, jobs)):
        assert answer["json_result"] == "the layer"
        assert answer["stdout"].count("installing tiny into layer") == 1
        assert answer["stdout"].count("packages: tiny==1.0") == 1
    again = await working.handle(jobs[0])
    assert again["stdout"] == ""


async def test_requests_that_share_a_failure_all_get_its_reason(working: Worker, links: Path) -> None:
    make_source(links, "broken", before="raise RuntimeError('this code is from another age')")
    jobs = [function_job(WHOSE, "f", "broken", dependencies=["broken"]) for _ in range(2)]
    for answer in await asyncio.gather(*map(working.handle, jobs)):
        assert answer["error_kind"] == "install"
        assert "this code is from another age" in answer["error"]
