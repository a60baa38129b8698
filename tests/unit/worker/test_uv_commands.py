"""How uv is called and read."""

from pathlib import Path

import pytest

from flashtrial.worker.install.uv_commands import Uv, with_settings

UV = Uv()
UNUSED = Path("/nowhere")

DRY_RUN = """Using Python 3.11.7 environment at: v
Resolved 14 packages in 252ms
Would download 5 packages
Would uninstall 1 package
Would install 3 packages
 + lightning-utilities==0.15.3
 - mpmath==1.4.1
 + mpmath==1.3.0
 + six==1.16.0 (from https://example.org/six-1.16.0-py2.py3-none-any.whl)
"""
CONFLICT = """Using Python 3.11.7 environment at: v
error: No solution found when resolving dependencies
  cause: Because you require numpy<2 and numpy==2.4.6, we can conclude that your requirements are unsatisfiable.
"""


def test_what_would_be_installed_is_read_from_a_dry_run() -> None:
    assert UV.resolved(DRY_RUN, UNUSED) == (
        "lightning-utilities==0.15.3",
        "mpmath==1.3.0",
        "six @ https://example.org/six-1.16.0-py2.py3-none-any.whl",
    )
    assert UV.resolved(CONFLICT, UNUSED) == ()


def test_conflict_is_told_from_other_failures() -> None:
    assert UV.is_conflict(CONFLICT)
    assert not UV.is_conflict("error: Failed to fetch: connection refused")


def test_reason_leaves_out_the_chatter() -> None:
    assert UV.reason(CONFLICT).startswith("error: No solution found")
    assert "Using Python" not in UV.reason(CONFLICT)


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"PIP_INDEX_URL": "https://a/simple"}, "UV_DEFAULT_INDEX", "https://a/simple"),
        ({"PIP_INDEX_URL": "https://a/simple", "UV_DEFAULT_INDEX": "https://b"}, "UV_DEFAULT_INDEX", "https://b"),
        ({"PIP_INDEX_URL": "https://a/simple", "UV_INDEX_URL": "https://b"}, "UV_DEFAULT_INDEX", None),
        ({"PIP_FIND_LINKS": "/one  /two"}, "UV_FIND_LINKS", "/one,/two"),
        ({"PIP_EXTRA_INDEX_URL": "https://a https://b"}, "UV_EXTRA_INDEX_URL", "https://a https://b"),
        ({}, "UV_CACHE_DIR", "/cache"),
        ({"UV_CACHE_DIR": "/mine"}, "UV_CACHE_DIR", "/mine"),
        ({"UV_PYTHON_DOWNLOADS": "automatic"}, "UV_PYTHON_DOWNLOADS", "never"),
        ({"PATH": "/bin"}, "PATH", "/bin"),
        ({"COLUMNS": "80"}, "COLUMNS", None),
    ],
)
def test_users_settings_win_and_those_for_pip_are_taken_over(
    given: dict[str, str], name: str, value: str | None
) -> None:
    assert with_settings(given, Path("/cache")).get(name) == value
