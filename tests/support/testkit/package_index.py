"""A package index on loopback that behaves as badly as it is told to."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class PackageIndex:
    """Serves the wheels of one directory under ``/simple/<name>/`` and ``/files/<wheel>``."""

    def __init__(self, links: Path) -> None:
        self.links = links
        self.status = 200
        """What every request is answered with; anything but 200 has no body."""
        self.yanked = frozenset[str]()
        """Wheels that their author took back."""
        self.damaged = frozenset[str]()
        """Wheels that arrive cut in half."""
        self.asked = list[str]()
        self.let_go = threading.Event()
        """Until it is set, requests are not answered; set from the start."""
        self.let_go.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/simple"

    @contextlib.contextmanager
    def serving(self) -> Iterator["PackageIndex"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.let_go.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body for a path."""
        self.asked.append(path)
        self.let_go.wait(30)
        if self.status != 200:
            return self.status, "text/plain", b""
        match path.strip("/").split("/"):
            case ["simple", name]:
                return 200, "text/html", "".join(map(self._line, sorted(self._wheels(name)))).encode()
            case ["files", name] if (self.links / name).is_file():
                content = (self.links / name).read_bytes()
                cut = len(content) // 2 if name in self.damaged else len(content)
                return 200, "application/octet-stream", content[:cut]
        return 404, "text/plain", b""

    def _wheels(self, name: str) -> Iterator[str]:
        return (path.name for path in self.links.glob(f"{name.replace('-', '_')}-*"))

    def _line(self, name: str) -> str:
        digest = hashlib.sha256((self.links / name).read_bytes()).hexdigest()
        yanked = ' data-yanked="broken"' if name in self.yanked else ""
        return f'<a href="/files/{name}#sha256={digest}"{yanked}>{name}</a>\n'

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = index.answer(self.path)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 - the name that the base class looks for

            def log_message(self, *_: object) -> None:
                """Quiet."""

        return Handler
