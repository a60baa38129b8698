"""``GET /api/v1/runs/{id}/files…`` and ``…/data``: what a run logged beside numbers."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from flashtrial.server import views
from flashtrial.server.answers import error_answer, json_answer
from flashtrial.server.files import rows
from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.files.content import blob_answer
from flashtrial.server.files.rows import DataQuery, FileQuery
from flashtrial.server.records import MAX_INT64
from flashtrial.server.routes import shapes
from flashtrial.server.views import MAX_PAGE

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Place = Annotated[int, Query(ge=0, le=MAX_INT64)]
Name = Annotated[str | None, Query(max_length=1024)]


def router(store: BlobStore, db_path: Path) -> APIRouter:
    """The routes. To be included before any route that takes all that is behind ``/runs/``: ids may have slashes."""
    routes = APIRouter(prefix="/api/v1", tags=["files"], responses=shapes.ERRORS)

    @routes.get(
        "/runs/{run_id:path}/files/{file_id}/content",
        summary="The bytes of a file, with ranges",
        response_class=Response,
        responses=shapes.BYTES,
    )
    def content(request: Request, run_id: str, file_id: int) -> Response:
        file = rows.read_file(db_path, run_id, file_id)
        if file is None:
            return error_answer(404, "no_such_file", "the run has no file with this id")
        path = store.path_of(file["sha256"])
        if path is None:
            return error_answer(404, "pending", "the file's bytes have not arrived yet", {"Retry-After": "5"})
        tag = request.headers.get("if-none-match")
        return blob_answer(path, file["sha256"], file["mime"], file["file_name"], tag)

    @routes.get(
        "/runs/{run_id:path}/files",
        summary="The files of a run, in the order of arrival",
        response_model=shapes.FilesShape,
    )
    def files(run_id: str, name: Name = None, type: Name = None, after: Place = 0, limit: Limit = 100) -> Response:  # noqa: A002
        if not views.run_exists(db_path, run_id):
            return _no_such_run(run_id)
        found = rows.list_files(db_path, FileQuery(run_id, name, type, after, limit))
        listed = [{**file, "is_pending": store.path_of(file["sha256"]) is None} for file in found]
        return json_answer({"files": listed, "next": found[-1]["id"] if len(found) == limit else None})

    @routes.get(
        "/runs/{run_id:path}/data",
        summary="Tables, histograms, graphs and texts of a run, by time",
        response_model=shapes.DataShape,
    )
    def data(run_id: str, name: Name = None, type: Name = None, offset: Place = 0, limit: Limit = 100) -> Response:  # noqa: A002
        if not views.run_exists(db_path, run_id):
            return _no_such_run(run_id)
        found = rows.list_data(db_path, DataQuery(run_id, name, type, offset, limit))
        return json_answer({"data": found, "next": offset + limit if len(found) == limit else None})

    return routes


def _no_such_run(run_id: str) -> Response:
    return error_answer(404, "no_such_run", f"there is no run {run_id!r:.200}")
