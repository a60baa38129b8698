"""Where a journal's records go, whoever sends them, and which of several tokens the server is shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from flashtrial.core.clock import SystemClock
from flashtrial.protocol.records import JournalHeader
from flashtrial.tracking.backends.answers import TokenRefused, with_a_good_token
from flashtrial.tracking.journal.facts import Role, journal_facts
from flashtrial.tracking.journal.reader import JournalReader
from flashtrial.tracking.journal.routes import Destination, Destinations
from flashtrial.tracking.journal.writer import RunWriter
from flashtrial.tracking.sending.addresses import Addresses
from flashtrial.tracking.settings.address import INSTANCE, Address
from flashtrial.tracking.settings.credentials import Credentials
from flashtrial.tracking.settings.resolution import resolve

FAR = "https://far.example"
OWN = "http://127.0.0.1:9000"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with an instance of its own."""
    path = tmp_path / "home"
    path.mkdir()
    (path / "instance.json").write_text(json.dumps({"url": OWN}))
    (path / "key").write_text("key-of-home")
    return path


def log_in(home: Path, url: str, token: str) -> None:
    home.mkdir(exist_ok=True)
    Credentials(url, {**Credentials.read(home).tokens, url: token}).write(home)


def destination(home: Path, **said: Any) -> Destination:
    """Where the records of a run go that is opened now with these settings, by a sync process of another home."""
    facts = journal_facts(resolve({"home": home, **said}, {}), Role.OWNER)
    [found] = Destinations(home="/another")(JournalHeader("run_1", "wr_1", facts), False)
    return found


def shown(addresses: Addresses, to: Destination, refuses: set[str]) -> tuple[list[str | None], bool]:
    """The tokens that a server is shown which refuses some, and whether it took the last one."""
    seen: list[str | None] = []

    def ask(address: Address) -> None:
        seen.append(address.token)
        if address.token is None or address.token in refuses:
            raise TokenRefused("no")

    try:
        with_a_good_token(lambda: addresses.find(to), lambda address: addresses.refuse(to, address), ask)
    except TokenRefused:
        return seen, False
    return seen, True


def test_a_run_goes_where_it_was_meant_to_when_it_was_opened(home: Path, tmp_path: Path) -> None:
    opened = {"nothing": destination(home)}
    log_in(home, FAR, "token-of-login")
    opened["login"] = destination(home)
    opened["named"] = destination(home, url="https://named.example/")
    opened["instance"] = destination(home, url=OWN)
    log_in(home, "https://later.example", "token-of-later")
    stranger = {"FLASHTRIAL_URL": "https://stranger.example", "FLASHTRIAL_TOKEN": "token-of-stranger"}
    addresses = Addresses(tmp_path / "another", stranger)
    assert {name: addresses.find(each) for name, each in opened.items()} == {
        "nothing": Address(OWN, "key-of-home"),
        "login": Address(FAR, "token-of-login"),
        "named": Address("https://named.example", None),
        "instance": Address(OWN, "key-of-home"),
    }


def test_an_instance_that_moved_still_has_its_runs(home: Path, tmp_path: Path) -> None:
    opened = destination(home, url=OWN)
    (home / "instance.json").write_text(json.dumps({"url": "http://127.0.0.1:9001"}))
    assert Addresses(tmp_path, {}).find(opened) == Address("http://127.0.0.1:9001", "key-of-home")


def test_two_homes_with_one_outbox_have_an_instance_each(home: Path, tmp_path: Path) -> None:
    assert destination(home) != destination(tmp_path / "other")
    assert destination(home).url == destination(tmp_path / "other").url == INSTANCE


def test_a_journal_of_an_earlier_version_is_for_the_sync_process_own_home(home: Path) -> None:
    header = JournalHeader("run_1", "wr_1", {"url": INSTANCE})
    [found] = Destinations(home=str(home))(header, False)
    assert Addresses(home, {}).find(found) == Address(OWN, "key-of-home")


def test_a_refused_token_is_passed_over_for_the_next_one_until_all_were_refused(home: Path) -> None:
    log_in(home, FAR, "of-login")
    addresses = Addresses(home, {"FLASHTRIAL_URL": FAR, "FLASHTRIAL_TOKEN": "of-environment"})
    far = Destination("native", FAR)
    addresses.keep(FAR, "handed-first")
    addresses.keep(FAR, "handed-later", str(home))
    every = ["handed-later", "handed-first", "of-environment", "of-login"]
    assert shown(addresses, far, set(every)) == (every, False)
    assert shown(addresses, far, set(every[:2])) == (every[:3], True)
    addresses.keep(FAR, "handed-later")  # as its trainer does every few seconds: that makes it no better
    assert shown(addresses, far, set(every[:2])) == (["of-environment"], True)
    addresses.keep(FAR, "newest")
    assert shown(addresses, far, set(every)) == (["newest"], True)


def test_a_login_to_the_own_instance_that_is_refused_gives_way_to_the_instances_key(home: Path) -> None:
    log_in(home, OWN, "of-an-old-login")
    opened = Destination("native", INSTANCE)
    assert shown(Addresses(home, {}), opened, {"of-an-old-login"}) == (["of-an-old-login", "key-of-home"], True)
    (home / "key").write_text("key-made-anew")
    addresses = Addresses(home, {})
    assert shown(addresses, opened, {"of-an-old-login", "key-of-home"}) == (["of-an-old-login", "key-made-anew"], True)


def test_a_new_login_and_a_token_that_is_handed_over_end_the_waiting(home: Path) -> None:
    addresses = Addresses(home, {}, monotonic=SystemClock().monotonic)
    far = Destination("native", FAR)
    seen = [addresses.whereabouts(far)]
    log_in(home, FAR, "of-login")
    seen.append(addresses.whereabouts(far))
    addresses.keep(FAR, "handed")
    seen.append(addresses.whereabouts(far))
    assert len(set(seen)) == 3


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "smörgås"])
def test_what_no_header_can_hold_is_shown_to_nobody(home: Path, token: str) -> None:
    addresses = Addresses(home, {"FLASHTRIAL_URL": FAR, "FLASHTRIAL_TOKEN": token})
    addresses.keep(FAR, token)
    assert addresses.find(Destination("native", FAR)) == Address(FAR, None)


def test_a_token_for_no_address_is_not_for_one_that_others_may_have_written(home: Path) -> None:
    (home / "instance.json").write_text(json.dumps({"url": "http://192.0.2.1:8787"}))
    (home / "instance.json").chmod(0o664)
    addresses = Addresses(home, {"FLASHTRIAL_TOKEN": "t"})
    for url in ("", INSTANCE):
        addresses.keep(url, "handed")
        assert addresses.find(Destination("native", url)) == Address("http://192.0.2.1:8787", None)


def test_a_fork_goes_where_its_parent_went_whoever_logged_in_meanwhile(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashtrial.tracking.journal.writer.ensure_sync_process", lambda *_: 1)
    writer = RunWriter("run_1", resolve({"home": home}, {}), {"status": "running"})
    writer.open()
    log_in(home, FAR, "token-of-login")
    writer.close()
    writer.renew_after_fork()
    writer.open()
    writer.close()
    headers = [JournalReader.open(path).header for path in (home / "outbox").glob("*.journal")]
    assert [(header.facts["url"], header.facts["home"]) for header in headers] == [(INSTANCE, str(home))] * 2
