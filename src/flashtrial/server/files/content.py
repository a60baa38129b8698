"""A blob as an answer that does no harm, whatever a run put into it: ranges, names, and what a browser may do with it.

A page that somebody logged is opened in no origin of ours (a sandbox without scripts), is never guessed to be something
else than we say, and is offered as a download; only pictures, sound, video and plain text are shown where they are.
"""

import re
from pathlib import Path
from urllib.parse import quote

from starlette.responses import FileResponse, Response

DOWNLOAD = "application/octet-stream"
_PLAIN_TEXT = "text/plain; charset=utf-8"
_SHOWN = re.compile(r"image/(png|jpeg|gif|webp|bmp|avif|x-icon)|audio/[a-z0-9.+-]+|video/[a-z0-9.+-]+")
_TEXT = re.compile(r"text/(plain|csv|markdown|x-[a-z0-9.+-]+)|application/json")
_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=31536000, immutable",
}
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f/\\]+")


def served_type(mime: str) -> tuple[str, bool]:
    """The content type to serve a file of type `mime` as, and whether a browser may show it in its place."""
    mime = mime.partition(";")[0].strip().lower()
    if _SHOWN.fullmatch(mime):
        return mime, True
    if _TEXT.fullmatch(mime):
        return _PLAIN_TEXT, True
    # An <img> may show it, where nothing of it runs; opened by itself it is a download in a sandbox.
    return (mime, False) if mime == "image/svg+xml" else (DOWNLOAD, False)


def blob_answer(path: Path, sha256: str, mime: str, file_name: str, if_none_match: str | None = None) -> Response:
    """The bytes at `path`, with ranges; 304 for who has them already."""
    etag = f'"{sha256}"'
    content_type, is_shown = served_type(mime)
    headers = {**_HEADERS, "ETag": etag, "Content-Disposition": _disposition(file_name, is_shown=is_shown)}
    if if_none_match is not None and etag in if_none_match:
        return Response(status_code=304, headers=headers)
    return FileResponse(path, headers=headers, media_type=content_type)


def _disposition(file_name: str, *, is_shown: bool) -> str:
    """RFC 6266, with the name in its UTF-8 form alone: percent signs need no quoting and no escape."""
    name = _UNPRINTABLE.sub("_", file_name).strip(". ") or "file"
    return f"{'inline' if is_shown else 'attachment'}; filename*=UTF-8''{quote(name, safe='')}"
