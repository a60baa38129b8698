"""A foreign destination that fails in a way that nobody foresaw is an outage of its own, and says no secret."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from flashtrial.protocol.records import Batch
from flashtrial.testing.backend_contract import batch
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.backends.base import Backend, Outage, Rejected
from flashtrial.tracking.backends.late import LateBackend, load_backend

NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize("token", ["secret\nline", "secret-\u20ac"])
def test_a_token_that_no_header_can_hold_is_an_outage_that_does_not_say_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    variables = {"MLFLOW_TRACKING_URI": NOWHERE, "MLFLOW_TRACKING_TOKEN": token}
    backend = LateBackend("mlflow", lambda: load_backend("mlflow", tmp_path, variables))
    with pytest.raises(Outage, match="line of ASCII") as caught:
        backend.send([batch(1)])
    backend.close()
    assert "secret" not in str(caught.value) + caplog.text
    assert "the backend mlflow failed with" in caplog.text


@pytest.mark.parametrize("error", [Outage("down", retry_after_s=3), Rejected("poison")])
def test_what_a_destination_says_passes_unchanged(error: Exception) -> None:
    def before(_batches: Sequence[Batch]) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        LateBackend("other", lambda: MemoryBackend(before=before)).send([batch(1)])
    assert caught.value is error


def test_one_that_cannot_be_made_is_made_again_later() -> None:
    made: list[Backend] = []

    def make() -> Backend:
        if not made:
            made.append(MemoryBackend())
            raise KeyError
        return made[0]

    backend = LateBackend("other", make)
    with pytest.raises(Outage, match="failed with KeyError"):
        backend.send([batch(1)])
    assert backend.send([batch(1)])[0].stored == 1
