"""Where the server is, and who is shown the token."""

import json
from pathlib import Path

import pytest

from flashtrial.tracking.address import Address, address_from


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


def test_the_token_is_not_for_an_address_that_a_file_names_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file")
    instance(tmp_path, "http://192.0.2.1:8787")
    assert address_from(tmp_path, {"FLASHTRIAL_TOKEN": "t"}) == Address("http://192.0.2.1:8787", None)
    named = {"FLASHTRIAL_URL": "http://192.0.2.1:8787", "FLASHTRIAL_TOKEN": "t"}
    assert address_from(tmp_path, named).token == "t"


def test_the_token_is_in_no_repr() -> None:
    assert "secret" not in repr(Address("http://u", "secret"))
