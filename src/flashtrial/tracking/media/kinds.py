"""What a file is: its MIME type and extension, by its name and else by its first bytes. Standard library only."""

import mimetypes
from pathlib import PurePath

UNKNOWN = "application/octet-stream"
HEAD_BYTES = 64

# A table of our own as well: the system's differs from machine to machine.
_BY_EXTENSION = {
    ".apng": "image/apng",
    ".flac": "audio/flac",
    ".json": "application/json",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".mkv": "video/x-matroska",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".txt": "text/plain",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_BY_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png", ".png"),
    (b"\xff\xd8\xff", "image/jpeg", ".jpg"),
    (b"GIF8", "image/gif", ".gif"),
    (b"BM", "image/bmp", ".bmp"),
    (b"fLaC", "audio/flac", ".flac"),
    (b"ID3", "audio/mpeg", ".mp3"),
    (b"\xff\xfb", "audio/mpeg", ".mp3"),
    (b"OggS", "audio/ogg", ".ogg"),
    (b"\x1aE\xdf\xa3", "video/webm", ".webm"),
    (b"%PDF-", "application/pdf", ".pdf"),
    (b"PK\x03\x04", "application/zip", ".zip"),
    (b"\x1f\x8b", "application/gzip", ".gz"),
)
_RIFF = {b"WAVE": ("audio/wav", ".wav"), b"WEBP": ("image/webp", ".webp"), b"AVI ": ("video/x-msvideo", ".avi")}


def mime_of(file_name: str, head: bytes = b"") -> str:
    """The MIME type by the extension of `file_name`, else by `head`, the first bytes of the content."""
    extension = PurePath(file_name).suffix.lower()
    return _BY_EXTENSION.get(extension) or mimetypes.guess_type(f"x{extension}")[0] or sniffed(head)[0]


def sniffed(head: bytes) -> tuple[str, str]:
    """MIME type and extension by the first bytes; `UNKNOWN` and ``.bin`` when they tell nothing."""
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] == b"ftyp":
        return "video/mp4", ".mp4"
    for magic, mime, extension in _BY_MAGIC:
        if head.startswith(magic):
            return mime, extension
    return UNKNOWN, ".bin"
