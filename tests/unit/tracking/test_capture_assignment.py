"""What a companion is told of secrets."""

import pytest

from flashtrial.protocol.child import MOST_SECRETS
from flashtrial.tracking.capture.assignment import (
    MASK,
    MAX_BYTES,
    PORTION_BYTES,
    mask_messages,
    secrets_of,
    told_at_once,
)

pytestmark = pytest.mark.unit


def heard(messages: bytes) -> list[str]:
    return [secret for message in messages.split(b"\n") for secret in secrets_of(message)]


def test_secrets_are_told_in_portions_whatever_was_told_before() -> None:
    secrets = [f"{number:04}" * 1000 for number in range(20)]
    messages = [*mask_messages([*secrets, "x" * (PORTION_BYTES + 1)])]
    assert max(map(len, messages)) < 32 * 1024
    assert heard(messages[0][:-9] + b"".join(messages[1:])) == secrets[3:], "the first is not told to its end"
    assert heard(b"".join(messages)) == secrets


def test_what_does_not_fit_is_left_out() -> None:
    assert sum(map(len, told_at_once("x" * PORTION_BYTES for _ in range(20)))) < MAX_BYTES / 2
    assert len(heard(b"".join(mask_messages(map(str, range(MOST_SECRETS + 1)))))) == MOST_SECRETS
    assert told_at_once([]) == ()


@pytest.mark.parametrize("said", [b"", b"8", b"85finish", b"\xff", b"c0", b"01", b"9101"])
def test_what_is_no_list_of_secrets_names_none(said: bytes) -> None:
    assert secrets_of(MASK + said) == []
