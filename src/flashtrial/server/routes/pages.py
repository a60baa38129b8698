"""The dashboard: one page for every path of its own, and the files that the page asks for.

Its routes are named one by one, so that another app's paths on the same port are never answered with the page.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Response
from starlette.responses import FileResponse, PlainTextResponse

from flashtrial.server.answers import error_answer

NOT_BUILT = "The dashboard is not built: `make setup` builds it. `flashtrial runs` lists runs.\n"
_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_ASK_AGAIN = {"Cache-Control": "no-cache"}


def router(static_dir: Path) -> APIRouter:
    """The routes, serving what lies in `static_dir` when they are made; the page may be built later."""
    routes = APIRouter(include_in_schema=False)

    def page() -> Response:
        index = static_dir / "index.html"
        return FileResponse(index, headers=_ASK_AGAIN) if index.is_file() else PlainTextResponse(NOT_BUILT)

    def page_below(path: str) -> Response:  # noqa: ARG001 - the page reads its own address
        return page()

    def asset(path: str) -> Response:
        return _file_in(static_dir / "assets", path)

    for address in ("/", "/runs"):
        routes.add_api_route(address, page, methods=["GET", "HEAD"])
    routes.add_api_route("/runs/{path:path}", page_below, methods=["GET", "HEAD"])
    # What the build names after its content never changes.
    routes.add_api_route("/assets/{path:path}", asset, methods=["GET", "HEAD"])
    for file in sorted(static_dir.glob("*.*")):
        if file.name != "index.html":
            routes.add_api_route(f"/{file.name}", _giver_of(file), methods=["GET", "HEAD"])
    return routes


def _giver_of(file: Path) -> Callable[[], Response]:
    def give() -> Response:
        return FileResponse(file, headers=_ASK_AGAIN)

    return give


def _file_in(directory: Path, path: str) -> Response:
    """The file at `path` below `directory`; 404 for everything else, ways out of it included."""
    with contextlib.suppress(OSError, ValueError):  # a name too long for the disk, or with a NUL in it
        file = (directory / path).resolve()
        if file.is_relative_to(directory.resolve()) and file.is_file():
            return FileResponse(file, headers=_FOREVER)
    return error_answer(404, "not_found", "there is no such file")
