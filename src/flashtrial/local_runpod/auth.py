"""Who may speak to the local RunPod: whoever knows the key, and no web page.

The routes run strangers' code, so they need the key on loopback too. A page that the user visits can send requests to
loopback, but does not know the key, and a browser lets it send an `Authorization` header only to a server that agrees;
foreign hosts and origins are refused before that by `server.security.HostGuard`, which the application must wear.
"""

import hmac
import os
import secrets
from pathlib import Path

from fastapi import Request

from flashtrial.core.errors import ConfigurationError
from flashtrial.core.files import OWNER_ONLY_FILE, ensure_private_dir
from flashtrial.local_runpod.errors import Refusal

KEY_FILE = "key"
_SHORTEST_KEY = 16


def load_or_make_key(home: Path) -> str:
    """The random key of this `home`, made on the first call and the same ever after; its file is for the owner only.

    Safe when several processes call it at once. Raises `ConfigurationError` when the file holds no usable key.
    """
    path = ensure_private_dir(home) / KEY_FILE
    if not path.exists():
        _make_key(path)
    path.chmod(OWNER_ONLY_FILE)
    key = path.read_text().strip()
    if len(key) < _SHORTEST_KEY or not key.isascii():
        raise ConfigurationError(f"{path} holds no usable key: delete it, and the next start makes a new one")
    return key


def _make_key(path: Path) -> None:
    """Written beside and linked into place: complete at once, and the first of several makers wins."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY_FILE)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"ft_{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(beside)
        except FileExistsError:
            return
    finally:
        beside.unlink()


class Gate:
    """Lets requests in that carry the key, or that come from a worker of ours with its own token."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._tokens: dict[str, bytes] = {}

    def hand_token_to(self, worker_id: str) -> str:
        """A fresh token for the worker's URLs.

        The SDK's loop prefers the key of ``~/.runpod/config.toml`` to the one in its environment, so that on a machine
        where somebody has logged in to RunPod its requests do not carry ours.
        """
        token = secrets.token_urlsafe(24)
        self._tokens[worker_id] = token.encode()
        return token

    def take_token_from(self, worker_id: str) -> None:
        """Forget the worker's token."""
        self._tokens.pop(worker_id, None)

    async def check_client(self, request: Request) -> None:
        """Raises `Refusal` (401) unless the request may use the platform's routes."""
        if not self._has_key(request):
            raise Refusal(401, "this route needs the key that `flashtrial env` prints, as Authorization: Bearer <key>")

    async def check_worker(self, request: Request) -> None:
        """Raises `Refusal` (401) unless the request comes from the worker that its path names."""
        token = self._tokens.get(request.path_params.get("worker_id", ""))
        given = request.query_params.get("token", "").encode()
        if not self._has_key(request) and (token is None or not hmac.compare_digest(token, given)):
            raise Refusal(401, "this route is for the workers of this instance")

    def _has_key(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        return hmac.compare_digest(given.encode(), self._key)
