"""What is taken for a secret, and what is left alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.core.masking import MASK, is_secret_name, masked_config, masked_text, secrets_of_config

pytestmark = pytest.mark.unit

# Put together here, so that nobody who searches this repository for leaked keys finds any.
SECRETS = {
    "Hugging Face": "hf_" + "aB3" * 11 + "x",
    "OpenAI": "sk-" + "proj-" + "aB3_" * 10,
    "Anthropic": "sk-" + "ant-api03-" + "xY7-" * 10,
    "GitHub": "ghp_" + "A1b2" * 9,
    "GitHub, fine": "github_pat_" + "A1b2" * 9,
    "GitLab": "glpat-" + "A1b2" * 5,
    "AWS": "AKIA" + "ABCD1234" * 2,
    "Slack": "xoxb-" + "123456789012-abcdef",
    "Google": "AIza" + "A1b2C3d" * 5,
    "RunPod": "rpa_" + "A1B2C3" * 6,
    "a token of ours": "ft_" + "k9" * 22,
    "JSON web token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJtZSJ9eyJ9" + ".c2lnbmF0dXJl",
    "a private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----",
    "half of a private key": "-----BEGIN PRIVATE KEY-----\nMIIE\nabc",
}


@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "apikey",
        "API_KEY",
        "apiKey",
        "OPENAI_API_KEY",
        "wandb-api-key",
        "password",
        "db_password",
        "passwd",
        "secret",
        "client_secret",
        "clientSecret",
        "aws_secret_access_key",
        "access_token",
        "accessToken",
        "auth_token",
        "hf_token",
        "HFToken",
        "HF_TOKEN",
        "private_key",
        "Authorization",
        "credentials",
        "db/password",
        "train.hub.hub_token",
    ],
)
def test_a_value_under_a_secrets_name_is_masked(name: str) -> None:
    assert is_secret_name(name)
    for value in ("short", 1234, ["a", "b"], {"value": "x"}):
        assert masked_config({"outer": [{name: value}]}) == {"outer": [{name: MASK}]}


@pytest.mark.parametrize(
    "name",
    [
        "pad_token",
        "eos_token",
        "bos_token",
        "unk_token",
        "mask_token",
        "max_tokens",
        "num_tokens",
        "tokenizer",
        "token_dim",
        "tokens",
        "token_id",
        "pad_token_id",
        "key",
        "keys",
        "key_dim",
        "num_key_value_heads",
        "sort_key",
        "secret_size",
        "password_length",
        "author",
        "monkey",
        "use_api_keys_from_env",
        "learning_rate",
        "compass",
    ],
)
def test_an_innocent_name_is_left_alone(name: str) -> None:
    assert not is_secret_name(name)
    assert masked_config({name: "<pad>"}) == {name: "<pad>"}


@pytest.mark.parametrize("value", [None, True, False, "", [], {}])
def test_what_says_no_secret_stays_under_any_name(value: object) -> None:
    assert masked_config({"api_key": value}) == {"api_key": value}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_value_that_shows_what_it_is_becomes_a_mask_under_any_name(kind: str) -> None:
    assert masked_config({"note": SECRETS[kind], "list": [SECRETS[kind]]}) == {"note": MASK, "list": [MASK]}
    assert masked_text(f"with {SECRETS[kind]}") == f"with {MASK}"


@pytest.mark.parametrize(
    "text",
    [
        "bert-base-uncased",
        "meta-llama/Llama-3.2-1B",
        "sk-learn-pipeline-of-gradient-boosting",
        "risk-1234567890abcdefghijklmnop",
        "hf_transfer",
        "shelf_0123456789012345678901234567890",
        "ft_epochs_3",
        "ghp_short",
        "AKIA",
        "https://example.org/a:b@c",
        "the bearer of this ring",
        "loss=0.123 step=10",
        "4f2c9a1e7b8d4f2c9a1e7b8d4f2c9a1e7b8d4f2c",
    ],
)
def test_innocent_text_is_left_alone(text: str) -> None:
    assert masked_text(text) == text


def test_passwords_in_addresses_and_bearers_in_headers_are_masked() -> None:
    assert masked_text("postgres://me:s3cret@db:5432/x") == f"postgres://me:{MASK}@db:5432/x"
    assert masked_text("-H 'Authorization: Bearer abcdefgh01234567'") == f"-H 'Authorization: Bearer {MASK}'"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://me:p@ss@db/x", f"postgres://me:{MASK}@db/x"),
        ("https://h/x?access_token=qwerty&lr=1", f"https://h/x?access_token={MASK}&lr=1"),
        ("Namespace(hf_token='abcd', pad_token='<pad>')", f"Namespace(hf_token='{MASK}', pad_token='<pad>')"),
        ('{"password": "it\\"s", "lr": "x"}', f'{{"password": "{MASK}", "lr": "x"}}'),
        ('-DB_PASSWORD = "hunter2"\n+DB_PASSWORD = ""', f'-DB_PASSWORD = "{MASK}"\n+DB_PASSWORD = ""'),
        ("cookie = b'abc'", f"cookie = b'{MASK}'"),
        ("password=os.environ['PASSWORD']", "password=os.environ['PASSWORD']"),
        ("sort_key='name' tokenizer: 'bpe'", "sort_key='name' tokenizer: 'bpe'"),
    ],
)
def test_what_stands_after_a_secrets_name_in_a_text_is_masked(text: str, shown: str) -> None:
    assert masked_text(text) == shown
    assert masked_text(shown) == shown


def test_secrets_of_a_config_are_the_texts_that_are_masked_in_it_for_their_names() -> None:
    config = {
        "api_key": "hunter2-mine",
        "hub": [{"password": ["first-secret", {"deep": "second-secret"}], "name": "not a secret"}],
        "token": "0a1b2c3d4e5f6a7b8c9d",
        "secret": "short",
        "private_key": "-----BEGIN-----\n0123456789\n",
        "pad_token": "<padding>",
        "auth_token": MASK,
    }
    assert secrets_of_config(config) == {
        "hunter2-mine", "first-secret", "second-secret", "0a1b2c3d4e5f6a7b8c9d",
        "-----BEGIN-----\n0123456789\n", "-----BEGIN-----", "0123456789",
    }  # fmt: skip


def test_what_says_where_a_secret_lies_and_what_is_masked_already_are_left_alone_elsewhere() -> None:
    assert secrets_of_config({"pwd": "/workspace", "ssh_key": "~/.ssh/id_rsa", "api_key": "*" * 10}) == set()
    key = "/" + "aB3+" * 10
    assert secrets_of_config({"secret_key": key}) == {key}


def test_a_bare_token_is_masked_where_it_looks_like_one() -> None:
    assert masked_config({"token": "0a1b2c3d4e5f6a7b8c9d"}) == {"token": MASK}
    for word in ("<s>", "hello", "a sentence of many words 1"):
        assert masked_config({"token": word}) == {"token": word}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(["a", "api_key", "token", "lr"]) | st.text(), JSON))
def test_masking_twice_is_masking_once_and_keeps_the_names(config: dict[str, object]) -> None:
    once = masked_config(config)
    assert masked_config(once) == once
    assert list(once) == list(config)
    json.dumps(once)


@pytest.mark.parametrize("beginning", ["sk-", "-eyJ0eXAiOiJ"])
def test_a_megabyte_of_beginnings_is_no_secret_and_is_soon_read(beginning: str) -> None:
    """A search that looks ahead from each of them to the end takes minutes, which the test's own limit ends."""
    text = beginning * (1_000_000 // len(beginning))
    assert masked_text(text) == text


def test_tokens_behind_a_dash_and_long_heads_of_tokens_are_masked() -> None:
    token = SECRETS["JSON web token"]
    long_head = "eyJ" + "aB3" * 1000 + token[token.index(".") :]
    assert masked_text(f"session-{token} {long_head}") == f"session-{MASK} {MASK}"
    assert masked_text(f"team-{SECRETS['OpenAI']}") == f"team-{MASK}"
