"""Scoped tokens: what a home's key signed, for how long, and what it took back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.server.access import tokens
from flashtrial.server.access.tokens import BadToken, Grant, Scope, UnknownToken, UnreadableTokens

pytestmark = pytest.mark.unit

KEY = "ft_" + "k" * 43
NOW = 1_700_000_000_000
NONE: frozenset[str] = frozenset()
WRITER = Grant("box", frozenset({Scope.WRITE}), lasts_s=60.0)


@given(scopes=st.frozensets(st.sampled_from(Scope)), name=st.text(max_size=50))
def test_a_token_says_who_holds_it_and_what_it_is_good_for(scopes: frozenset[Scope], name: str) -> None:
    holder = tokens.holder_of(KEY, tokens.mint(KEY, Grant(name, scopes), NOW), NONE, NOW)
    assert (holder.name, holder.scopes) == (name, scopes)


def test_a_token_of_another_key_is_a_stranger() -> None:
    with pytest.raises(BadToken, match="not given out by this server"):
        tokens.holder_of("ft_" + "x" * 43, tokens.mint(KEY, WRITER, NOW), NONE, NOW)


def test_the_key_itself_signs_nothing() -> None:
    """Whoever learns a token's signature must not have learnt anything that opens the local RunPod."""
    import jwt

    forged = jwt.encode({"iss": "flashtrial", "jti": "t", "sub": "s", "scope": "control"}, KEY, algorithm="HS256")
    with pytest.raises(BadToken):
        tokens.holder_of(KEY, forged, NONE, NOW)


@pytest.mark.parametrize(
    "text", ["", "a.b.c", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJmbGFzaHRyaWFsIn0.", "é", "ft_" + "k" * 43]
)
def test_what_is_no_token_is_a_stranger(text: str) -> None:
    with pytest.raises(BadToken, match="not given out"):
        tokens.holder_of(KEY, text, NONE, NOW)


def test_a_token_ends_when_it_said() -> None:
    token = tokens.mint(KEY, WRITER, NOW)
    assert tokens.holder_of(KEY, token, NONE, NOW + 59_000).name == "box"
    with pytest.raises(BadToken, match="expired"):
        tokens.holder_of(KEY, token, NONE, NOW + 60_000)


def test_the_list_has_no_tokens_in_it_and_is_its_owners_alone(tmp_path: Path) -> None:
    token = tokens.issue(tmp_path, KEY, WRITER, NOW)
    listed = (tmp_path / tokens.FILE).read_text()
    assert token not in listed
    assert token.rpartition(".")[2] not in listed
    assert (tmp_path / tokens.FILE).stat().st_mode & 0o077 == 0
    assert [(each.name, each.scopes) for each in tokens.issued(tmp_path)] == [("box", ("write",))]


def test_a_revoked_token_is_refused_and_stays_listed(tmp_path: Path) -> None:
    token = tokens.issue(tmp_path, KEY, WRITER, NOW)
    (listed,) = tokens.issued(tmp_path)
    tokens.revoke(tmp_path, listed.id, NOW + 5)
    with pytest.raises(BadToken, match="revoked"):
        tokens.holder_of(KEY, token, frozenset({listed.id}), NOW + 6)
    assert tokens.issued(tmp_path)[0].revoked_ms == NOW + 5


def test_a_token_that_was_never_given_out_cannot_be_revoked(tmp_path: Path) -> None:
    with pytest.raises(UnknownToken, match="flashtrial token list"):
        tokens.revoke(tmp_path, "tok_1", NOW)


@pytest.mark.parametrize("damage", ["{", "[]", '{"tokens": [{}]}', '{"tokens": 3}'])
def test_a_damaged_list_says_so(tmp_path: Path, damage: str) -> None:
    (tmp_path / tokens.FILE).write_text(damage)
    with pytest.raises(UnreadableTokens, match="damaged"):
        tokens.issued(tmp_path)
