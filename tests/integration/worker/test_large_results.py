"""A result that no answer can carry, on a worker without a network volume: it goes to the tracking server."""

import hashlib
from pathlib import Path

import pytest

from flashtrial.worker.entrypoint import Worker
from flashtrial.worker.ledger import MemoryLedger
from flashtrial.worker.worker_settings import WorkerSettings
from testkit.jobs import function_job
from testkit.ports import free_port
from testkit.tracking_server import tracking_server

pytestmark = pytest.mark.integration

LARGE = "def f(size):\n    print('said')\n    return 'x' * size\n"


async def answer_of(home: Path, size: int) -> dict[str, object]:
    worker = Worker("w", home / "worker", MemoryLedger("w"), settings=WorkerSettings.from_environment())
    try:
        return await worker.handle(function_job(LARGE, "f", size))
    finally:
        await worker.close()


@pytest.mark.parametrize("size", [30_000, 9_000_000])
async def test_it_goes_to_the_tracking_server_and_the_answer_says_where(
    flashtrial_home: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setenv("FLASHTRIAL_MAX_RESULT_BYTES", "20000")
    with tracking_server(flashtrial_home) as client:
        monkeypatch.setenv("FLASHTRIAL_URL", f"http://127.0.0.1:{client.port}")
        for _ in range(2):  # the second time it is there already
            answer = await answer_of(flashtrial_home, size)
            content = ('"' + "x" * size + '"').encode()
            digest = hashlib.sha256(content).hexdigest()
            path = f"/api/v1/blobs/{digest}"
            url = f"http://127.0.0.1:{client.port}{path}"
            assert answer["result_ref"] == {"url": url, "bytes": size + 2, "sha256": digest, "format": "json"}
            assert answer["success"]
            assert str(answer["stdout"]).startswith("said\n[flashtrial] the result (")
            assert url in str(answer["stdout"])
            assert client.get(path).body == content


async def test_a_server_that_is_not_there_costs_the_result_and_not_the_output(
    flashtrial_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASHTRIAL_MAX_RESULT_BYTES", "20000")
    monkeypatch.setenv("FLASHTRIAL_URL", f"http://127.0.0.1:{free_port()}")
    answer = await answer_of(flashtrial_home, 30_000)
    assert (answer["success"], answer["error_kind"], answer["stdout"]) == (False, "result", "said\n")
    assert "Writing it to the tracking server failed" in str(answer["error"])
