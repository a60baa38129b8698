"""Names of system packages, and machines that have none."""

import logging
from pathlib import Path

import pytest

from flashtrial.worker.install.install_errors import RequirementRefused
from flashtrial.worker.install.system_packages import SystemPackages


@pytest.mark.parametrize(
    "name",
    [
        "-y",
        "--allow-unauthenticated",
        "-oAPT::Update::Pre-Invoke::=id",
        "curl; id",
        "curl wget",
        "./x.deb",
        "/x.deb",
        "Curl",
        "curl\n",
        "$(id)",
        "",
        "curl*",
        "curl-",  # apt-get would remove it
        "curl:amd64-",
        "curl=1.0-",
        "curl=",
        "curl=1 2",
        "curl/testing",
    ],
)
async def test_what_is_no_package_name_is_refused_by_name(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # should one get through, nothing must run
    with pytest.raises(RequirementRefused) as caught:
        await SystemPackages().ensure(["dpkg", name])
    assert repr(name) in str(caught.value)


async def test_elsewhere_than_on_linux_they_are_skipped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="flashtrial")
    await SystemPackages(platform="darwin").ensure(["libsndfile1", "libstdc++6:amd64", "g++=4:12.2.0-3"])
    assert "libsndfile1" in caplog.text
    assert "darwin" in caplog.text
