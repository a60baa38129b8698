"""``/api/v1/blobs``: uploads of contents by hash and size, in chunks, that go on where they were.

::

    POST /blobs {"sha256", "size", "run_id"?}                ─▶ {"sha256", "size", "received", "is_complete", "chunk"}
    PUT  /blobs/{sha256}?size=N&offset=M[&commit=true]       ─▶ the same; 409 with "received" where M is out of place
         Upload-Checksum: crc32 <8 hexadecimal digits>
    POST /blobs/{sha256}/commit?size=N                       ─▶ the same; 422 when the bytes are others, begin again
    GET  /blobs/{sha256}                                     ─▶ the bytes, with ranges
"""

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from flashtrial.server.answers import error_answer, json_answer
from flashtrial.server.files.blobs import (
    BlobDamaged,
    BlobKey,
    BlobStore,
    NoSuchUpload,
    OutOfPlace,
    StoreFull,
    TooLarge,
    UploadState,
)
from flashtrial.server.files.content import DOWNLOAD, blob_answer
from flashtrial.server.files.rows import run_bytes
from flashtrial.server.records import MAX_INT64
from flashtrial.server.routes.shapes import BYTES, CHUNK_BODY, ERRORS, ErrorShape, OutOfPlaceShape, UploadShape

CHECKSUM = "Upload-Checksum"

Hash = Annotated[str, InPath(pattern="^[0-9a-f]{64}$")]
Size = Annotated[int, Query(ge=0, le=MAX_INT64)]


class Upload(BaseModel):
    """What is to be uploaded, and for which run, whose limit then counts."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0, le=MAX_INT64)
    run_id: str | None = Field(default=None, max_length=1024)


def router(store: BlobStore, db_path: Path) -> APIRouter:
    """The routes, storing into `store`; the run's limit is looked up in the database at `db_path`."""
    routes = APIRouter(prefix="/api/v1", tags=["files"], responses=ERRORS | {507: {"model": ErrorShape}})

    @routes.post("/blobs", summary="Begin an upload, or find out where it stands", response_model=UploadShape)
    def begin(upload: Upload) -> Response:
        others = run_bytes(db_path, upload.run_id, without=upload.sha256) if upload.run_id else 0
        return _answered(store, lambda: store.begin(BlobKey(upload.sha256, upload.size), run_bytes=others))

    @routes.put(
        "/blobs/{sha256}",
        summary="Add a chunk; repeating one is safe",
        response_model=UploadShape,
        responses={409: {"model": OutOfPlaceShape}},
        openapi_extra=CHUNK_BODY,
    )
    async def write(
        request: Request,
        *,
        sha256: Hash,
        size: Size,
        offset: Size = 0,
        commit: bool = False,
        upload_checksum: Annotated[str | None, Header()] = None,
    ) -> Response:
        data = await request.body()
        if len(data) > store.limits.chunk_bytes:
            return error_answer(413, "too_large", f"a chunk has at most {store.limits.chunk_bytes} bytes")
        if upload_checksum is not None and upload_checksum != checksum(data):
            return error_answer(400, "chunk_damaged", "the chunk is not what its checksum says: send it again")
        act = partial(_written, store, BlobKey(sha256, size), offset, data, commit=commit)
        return await run_in_threadpool(_answered, store, act)

    @routes.post(
        "/blobs/{sha256}/commit",
        summary="Check what arrived, and keep it; repeating this is safe",
        response_model=UploadShape,
        responses={409: {"model": OutOfPlaceShape}},
    )
    def finish(sha256: Hash, size: Size) -> Response:
        return _answered(store, lambda: store.commit(BlobKey(sha256, size)))

    @routes.get("/blobs/{sha256}", summary="The bytes", response_class=Response, responses=BYTES)
    def content(request: Request, sha256: Hash) -> Response:
        path = store.path_of(sha256)
        if path is None:
            return error_answer(404, "no_such_blob", "nothing here has this hash, or not all of it has arrived")
        return blob_answer(path, sha256, DOWNLOAD, sha256, request.headers.get("if-none-match"))

    return routes


def _written(store: BlobStore, key: BlobKey, offset: int, data: bytes, *, commit: bool) -> UploadState:
    """How far the upload is after a chunk; with `commit` the last one ends it, which saves a small file a request."""
    state = store.write(key, offset, data)
    return store.commit(key) if commit and state.received_bytes == key.size_bytes else state


def checksum(data: bytes) -> str:
    """What `Upload-Checksum` says of a chunk."""
    return f"crc32 {zlib.crc32(data):08x}"


def _answered(store: BlobStore, act: Callable[[], UploadState]) -> Response:
    try:
        state = act()
    except TooLarge as error:
        return error_answer(413, "too_large", str(error))
    except StoreFull as error:
        return error_answer(507, "store_full", str(error), {"Retry-After": "30"})
    except NoSuchUpload as error:
        return error_answer(404, "no_such_upload", str(error))
    except BlobDamaged as error:
        return error_answer(422, "blob_damaged", str(error))
    except OutOfPlace as error:
        return json_answer({"error": "out_of_place", "message": str(error), "received": error.received}, 409)
    return json_answer(
        {
            "sha256": state.key.sha256,
            "size": state.key.size_bytes,
            "received": state.received_bytes,
            "is_complete": state.is_complete,
            "chunk": store.limits.chunk_bytes,
        }
    )
