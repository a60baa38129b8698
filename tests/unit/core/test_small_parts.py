"""Ids, waits and the environment."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.core import env
from flashtrial.core.errors import ConfigurationError
from flashtrial.core.ids import new_id
from flashtrial.core.retry import full_jitter_s


def test_ids_are_distinct_and_sort_by_time() -> None:
    ids = [new_id("run") for _ in range(1000)]
    assert len(set(ids)) == len(ids)
    assert all(identity.startswith("run_") and len(identity) == 24 for identity in ids)
    times = [identity[4:13] for identity in ids]
    assert times == sorted(times)


@given(st.integers(0, 10_000), st.integers())
def test_a_wait_is_between_nothing_and_its_cap(attempt: int, seed: int) -> None:
    wait_s = full_jitter_s(attempt, base_s=0.2, cap_s=30.0, rng=random.Random(seed))
    assert 0.0 <= wait_s <= min(30.0, 0.2 * 2 ** min(attempt, 32))


def test_secrets_and_job_addresses_are_kept_from_children_and_the_rest_is_not() -> None:
    given_ = {
        "FLASHTRIAL_TOKEN": "t",
        "RUNPOD_API_KEY": "k",
        "RUNPOD_AI_API_KEY": "k",
        "RUNPOD_WEBHOOK_GET_JOB": "http://x?token=t",
        "HF_TOKEN": "the user's own",
        "PATH": "/bin",
    }
    assert env.without_secrets(given_) == {"HF_TOKEN": "the user's own", "PATH": "/bin"}


@pytest.mark.parametrize(("text", "value"), [("", 7.0), ("0", 0.0), ("1e9", 1e9), ("0.5", 0.5)])
def test_a_variable_is_a_number_or_its_default(monkeypatch: pytest.MonkeyPatch, text: str, value: float) -> None:
    monkeypatch.setenv("FLASHTRIAL_SOME", text)
    assert env.number("FLASHTRIAL_SOME", 7.0) == value
    assert env.whole("FLASHTRIAL_SOME", 7) == int(value)


@pytest.mark.parametrize("text", ["-1", "inf", "nan", "much"])
def test_a_variable_that_is_no_number_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FLASHTRIAL_SOME", text)
    with pytest.raises(ConfigurationError, match=f"FLASHTRIAL_SOME={text} is not a number"):
        env.number("FLASHTRIAL_SOME", 7.0)
