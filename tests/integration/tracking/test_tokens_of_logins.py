"""Records whose run died before it could say its token: the sync process looks where the user's login left it."""

import json
from pathlib import Path

import pytest

from flashtrial.tracking.settings.credentials import Credentials
from testkit import wait_until

from .conftest import Lab, StandIn

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-login"
DIES = "import flashtrial, os\nflashtrial.init(run_id='run_1', resume=False).log({'x': 1.0})\nos._exit(0)"
KEYRING = """
import json, os, pathlib
from keyring.backend import KeyringBackend
class Keyring(KeyringBackend):
    priority = 1
    def get_password(self, service, name): return json.loads(pathlib.Path(os.environ["TEST_KEYRING"]).read_text())[name]
    def set_password(self, service, name, secret): raise NotImplementedError
    def delete_password(self, service, name): raise NotImplementedError
"""


@pytest.mark.parametrize("keeper", ["file", "keyring"])
def test_what_a_dead_run_left_goes_through_once_the_user_has_logged_in(lab: Lab, tmp_path: Path, keeper: str) -> None:
    given: dict[str, str] = {}
    if keeper == "keyring":
        pytest.importorskip("keyring")
        (tmp_path / "ring_of_the_test.py").write_text(KEYRING)
        (tmp_path / "ring.json").write_text("{}")
        given = {
            "PYTHON_KEYRING_BACKEND": "ring_of_the_test.Keyring",
            "TEST_KEYRING": str(tmp_path / "ring.json"),
            "PYTHONPATH": str(tmp_path),
        }
    with StandIn() as server:
        server.token = TOKEN
        lab.run(DIES, FLASHTRIAL_URL=server.url, **given)
        wait_until(lambda: server.headers, 30, "a first attempt")
        assert not server.backend.stored
        (tmp_path / "ring.json").write_text(json.dumps({server.url: TOKEN}))
        Credentials(server.url, {server.url: None if given else TOKEN}).write(lab.home)
        lab.wait_until_synced()
        assert len(server.backend.stored) == 2
        logs = "".join(path.read_text() for path in (lab.home / "logs").iterdir())
    assert TOKEN not in logs
