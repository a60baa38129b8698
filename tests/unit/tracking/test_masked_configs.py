"""Secrets in configurations never leave the user's process, unless somebody says that they may."""

from pathlib import Path

import pytest

from flashtrial.core.masking import MASK
from flashtrial.tracking.capture.masking import MARGIN_CHARS, Masks
from flashtrial.tracking.runs.alerts import MAX_TEXT_CHARS, MAX_TITLE_CHARS
from flashtrial.tracking.runs.endings import MAX_REASON_CHARS
from testkit.journals import Init, bodies

pytestmark = pytest.mark.unit

KEY = "hf_" + "aB3" * 11


def test_a_config_is_written_without_its_secrets(outbox: Path, init: Init) -> None:
    run = init(config={"lr": 0.1, "hub": {"hf_token": "short", "pad_token": "<pad>"}, "note": f"use {KEY}"})
    run.update_config({"db_password": 1234, "max_tokens": 512})
    hub = {"hf_token": MASK, "pad_token": "<pad>"}
    assert bodies(outbox, "state")[0]["config"] == {"lr": 0.1, "hub": hub, "note": f"use {MASK}"}
    assert bodies(outbox, "config")[0] == {"set": {"db_password": MASK, "max_tokens": 512}}
    assert all(KEY.encode() not in path.read_bytes() for path in outbox.iterdir() if path.is_file())


def test_a_secret_of_the_config_or_the_environment_stands_in_no_alert_and_no_reason(
    outbox: Path, init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "correct-horse")
    run = init(config={"api_key": "hunter2-of-mine"}, settings={"token": "token-of-the-server"})
    run.update_config({"hub": {"auth_token": "battery-staple"}})
    said = "hunter2-of-mine, correct-horse, battery-staple, token-of-the-server"
    run.alert(f"title {said}", f"text {said}", url="https://host/?key=battery-staple")
    run.finish("failed", f"refused: {said}")
    [alert] = bodies(outbox, "data")
    shown = f"{MASK}, {MASK}, {MASK}, {MASK}"
    assert (alert["value"]["title"], alert["value"]["text"]) == (f"title {shown}", f"text {shown}")
    assert alert["value"]["url"] == f"https://host/?key={MASK}"
    assert bodies(outbox, "state")[-1]["reason"] == f"refused: {shown}"


def test_a_secret_across_the_cut_of_an_alert_or_a_reason_is_not_halved(outbox: Path, init: Init) -> None:
    secret = "open-sesame-" * 4
    run = init(config={"password": secret})
    run.alert("x" * (MAX_TITLE_CHARS - 8) + secret, "x" * (MAX_TEXT_CHARS - 8) + secret + "x" * 9000)
    title = "x" * (MAX_TITLE_CHARS - 8) + MASK
    assert [alert["value"]["title"] for alert in bodies(outbox, "data")] == [title]
    with pytest.raises(ValueError, match="sesame"), run:
        raise ValueError("x" * (MAX_REASON_CHARS // 2 - 20) + secret + "x" * 9000 + secret)
    assert all(b"sesame" not in path.read_bytes() for path in outbox.iterdir() if path.is_file())


@pytest.mark.parametrize("shift", range(0, 60, 7))
def test_no_part_of_a_secret_is_left_at_either_end_of_what_is_cut(shift: int) -> None:
    secret = "open-sesame-" * 4
    masks = Masks([secret])
    said = "y" * shift + (secret + "x" * 10) * 300
    assert len(said) > MARGIN_CHARS + 100
    for shown in (masks.masked_head(said, 100), masks.masked_tail(said, 100)):
        assert "sesame" not in shown
        assert len(shown) <= 100
    assert masks.masked_head("short " + secret, 100) == masks.masked_tail("short " + secret, 100) == "short " + MASK


def test_a_key_that_was_made_a_tag_is_masked_and_can_be_taken_away(outbox: Path, init: Init) -> None:
    run = init(tags=[KEY, "a"])
    run.add_tags(f"key {KEY}")
    assert run.tags == [MASK, "a", f"key {MASK}"]
    run.remove_tags(KEY)
    assert run.tags == ["a", f"key {MASK}"]
    assert all(KEY.encode() not in path.read_bytes() for path in outbox.iterdir() if path.is_file())


@pytest.mark.parametrize("how", ["a setting", "a variable"])
def test_masking_can_be_switched_off(outbox: Path, init: Init, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "a variable":
        monkeypatch.setenv("FLASHTRIAL_MASK_SECRETS", "false")
    init(config={"api_key": KEY}, settings={"mask_secrets": False} if how == "a setting" else {})
    assert bodies(outbox, "state")[0]["config"] == {"api_key": KEY}
