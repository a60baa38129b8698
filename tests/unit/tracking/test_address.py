"""Where the server is, and who is shown the token."""

import json
from pathlib import Path

import pytest

from flashtrial.core.errors import ConfigurationError
from flashtrial.tracking.settings.address import Address, address_from
from flashtrial.tracking.settings.resolution import resolve


def instance(home: Path, url: str) -> None:
    (home / "instance.json").write_text(json.dumps({"url": url, "pid": 1}))


def test_the_address_is_the_users_else_the_instances_else_the_default(tmp_path: Path) -> None:
    assert address_from(tmp_path, {}).url == "http://127.0.0.1:8787"
    instance(tmp_path, "http://127.0.0.1:9000/")
    assert address_from(tmp_path, {}).url == "http://127.0.0.1:9000"
    assert address_from(tmp_path, {"FLASHTRIAL_URL": "http://far:1"}).url == "http://far:1"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"url": 5}', b'{"url": ""}', b"\xff"])
def test_an_instance_file_that_says_nothing_is_no_instance(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "instance.json").write_bytes(content)
    assert address_from(tmp_path, {}).url == "http://127.0.0.1:8787"


def test_the_token_is_the_variables_else_the_key_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    assert address_from(tmp_path, {}).token == "from-file"
    assert address_from(tmp_path, {"FLASHTRIAL_TOKEN": "t"}).token == "t"


def test_an_instance_on_an_address_of_the_network_is_shown_the_token(tmp_path: Path) -> None:
    """As `flashtrial up --host 192.0.2.1` writes it; without the token it takes no record."""
    (tmp_path / "key").write_text("from-file")
    instance(tmp_path, "http://192.0.2.1:8787")
    assert address_from(tmp_path, {}).token == "from-file"
    assert address_from(tmp_path, {"FLASHTRIAL_URL": "http://192.0.2.1:8787/"}).token == "from-file"


def test_the_token_is_not_for_an_address_that_a_file_names_which_others_may_write(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file")
    instance(tmp_path, "http://192.0.2.1:8787")
    (tmp_path / "instance.json").chmod(0o664)
    assert address_from(tmp_path, {"FLASHTRIAL_TOKEN": "t"}) == Address("http://192.0.2.1:8787", None)
    named = {"FLASHTRIAL_URL": "http://192.0.2.1:8787", "FLASHTRIAL_TOKEN": "t"}
    assert address_from(tmp_path, named).token == "t"


def test_the_key_of_this_machine_is_not_for_another_that_the_user_names(tmp_path: Path) -> None:
    """It opens the local RunPod, which runs code."""
    (tmp_path / "key").write_text("from-file")
    instance(tmp_path, "http://192.0.2.1:8787")
    assert address_from(tmp_path, {"FLASHTRIAL_URL": "http://192.0.2.9:8787"}).token is None
    assert address_from(tmp_path, {"FLASHTRIAL_URL": "http://localhost:1"}).token == "from-file"


@pytest.mark.parametrize("url", ["http://[::1", "localhost:8787", "http://host:port", "//"])
def test_an_address_that_is_none_is_nobodys_to_see_a_key(tmp_path: Path, url: str) -> None:
    (tmp_path / "key").write_text("from-file")
    assert address_from(tmp_path, {"FLASHTRIAL_URL": url}).token is None


def test_the_token_is_in_no_repr() -> None:
    assert "secret" not in repr(Address("http://u", "secret"))


def test_an_address_with_a_password_in_it_is_refused_and_not_repeated() -> None:
    """It would stand in each journal's header and in the log; the server would not be shown it."""
    with pytest.raises(ConfigurationError, match="FLASHTRIAL_URL: the address holds") as caught:
        resolve(None, {"FLASHTRIAL_URL": "https://user:secret@far.example"})
    assert "secret" not in str(caught.value)
