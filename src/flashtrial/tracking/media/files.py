"""Files that users log: ``run.log({"shot": Image(array, caption="step 3"), "weights": Artifact("model.pt")})``.

A value in memory is encoded when it is wrapped, so that changing the array afterwards changes nothing; a file on the
disk is taken as it is when `log` is called. Names and semantics are those of the Pluto family.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from flashtrial.protocol.records import JsonValue, RecordKind
from flashtrial.tracking.media.arrays import as_animated_png, as_png, as_wav, is_array
from flashtrial.tracking.media.kinds import HEAD_BYTES, UNKNOWN, mime_of, sniffed
from flashtrial.tracking.media.staging import stage_bytes, stage_file
from flashtrial.tracking.values import plain, text

MAX_TEXT_CHARS = 1000  # of a name or a type: the server takes 1024

Content: TypeAlias = "Path | bytes"


class File:
    """A file on the disk, at `path`; `name` is what it is called at the server, by default its own name.

    Raises `FileNotFoundError` and `IsADirectoryError`.
    """

    type: ClassVar[str] = "file"

    def __init__(self, path: str | os.PathLike[str], name: str | None = None, caption: str | None = None) -> None:
        self._set(_existing(path), name, caption)

    def _set(
        self,
        content: Content,
        name: str | None = None,
        caption: str | None = None,
        meta: Mapping[str, Any] | None = None,
        mime: str | None = None,
    ) -> None:
        """What every kind of file consists of."""
        head = content[:HEAD_BYTES] if isinstance(content, bytes) else _head(content)
        own_name = content.name if isinstance(content, Path) else f"{self.type}{sniffed(head)[1]}"
        self._content = content
        self.file_name = text(name or own_name)[:MAX_TEXT_CHARS]
        self.mime = mime or mime_of(self.file_name, head)
        self.caption = None if caption is None else text(str(caption))
        self.meta = plain(meta) if meta else None

    def stage_record(self, outbox: Path) -> tuple[RecordKind, Mapping[str, JsonValue]]:
        """See `flashtrial.tracking.values.Loggable`. Raises OSError when a file on the disk is gone by now."""
        content = self._content
        staged = stage_bytes(outbox, content) if isinstance(content, bytes) else stage_file(outbox, content)
        body: dict[str, JsonValue] = {
            "type": self.type,
            "sha256": staged.sha256,
            "size": staged.size_bytes,
            "mime": self.mime,
            "file_name": self.file_name,
            "staged": staged.ref,
        }
        if self.caption is not None:
            body["caption"] = self.caption
        if self.meta:
            body["meta"] = self.meta
        return RecordKind.FILE, body

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.file_name!r}, {self.mime})"


class Artifact(File):
    """Any file: a path, or bytes. `metadata` is a map that is kept beside it."""

    type: ClassVar[str] = "artifact"

    def __init__(
        self,
        data: str | os.PathLike[str] | bytes | bytearray,
        caption: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._set(_path_or_bytes(data), caption=caption, meta=metadata)


class Text(File):
    """A text: the path of a text file, or else the text itself."""

    type: ClassVar[str] = "text"

    def __init__(self, data: str | os.PathLike[str] | object, caption: str | None = None) -> None:
        if isinstance(data, os.PathLike) or (isinstance(data, str) and _is_file(data)):
            self._set(_existing(data), caption=caption)
            if self.mime == UNKNOWN:
                self.mime = "text/plain"
        else:
            self._set(text(str(data)).encode(), "text.txt", caption)


class Image(File):
    """A picture: a path, encoded bytes, a PIL image, a matplotlib figure, or an array (see `media.arrays`).

    Raises ValueError for arrays that are no picture, TypeError for other values.
    """

    type: ClassVar[str] = "image"

    def __init__(self, data: Any, caption: str | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        self._set(_picture(data), caption=caption, meta=metadata)


class Audio(File):
    """Sound: a path, encoded bytes, or an array of samples, `rate` of them a second, which becomes WAV.

    Raises ValueError and TypeError as `Image` does.
    """

    type: ClassVar[str] = "audio"

    def __init__(self, data: Any, rate: int = 48000, caption: str | None = None) -> None:
        content = as_wav(data, rate) if is_array(data) else _path_or_bytes(data)
        self._set(content, caption=caption, meta={"rate": rate} if is_array(data) else None)


class Video(File):
    """A film: a path, encoded bytes, or an array of frames, `rate` a second, which becomes an animated PNG.

    `format` names the encoding of bytes that do not tell it themselves (``"mp4"``). Raises ValueError and TypeError as
    `Image` does.
    """

    type: ClassVar[str] = "video"

    def __init__(
        self,
        data: Any,
        rate: float = 30,
        caption: str | None = None,
        format: str | None = None,  # noqa: A002 - the name that the Pluto family gave it
    ) -> None:
        if is_array(data):
            if not rate > 0:
                raise ValueError(f"a video has more than {rate} frames a second")
            self._set(as_animated_png(data, rate), "video.png", caption, {"rate": rate}, "image/apng")
        else:
            content = _path_or_bytes(data)
            is_named = format is not None and isinstance(content, bytes)
            self._set(content, f"video.{format}" if is_named else None, caption)


def _picture(data: Any) -> Content:
    if hasattr(data, "savefig"):  # a figure of matplotlib
        return _saved(data.savefig, format="png")
    if hasattr(data, "figure") and hasattr(data.figure, "savefig"):  # axes of one
        return _saved(data.figure.savefig, format="png")
    if hasattr(data, "mode") and hasattr(data, "save"):  # an image of PIL
        picture = data if data.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else data.convert("RGB")
        return _saved(picture.save, format="PNG")
    return as_png(data) if is_array(data) else _path_or_bytes(data)


def _saved(save: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    save(out, **options)
    return out.getvalue()


def _path_or_bytes(data: object) -> Content:
    match data:
        case str() | os.PathLike():
            return _existing(data)
        case bytes() | bytearray() | memoryview():
            return bytes(data)
    raise TypeError(f"a file is a path or bytes, not {type(data).__module__}.{type(data).__qualname__}")


def _existing(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a file that is there. Raises `FileNotFoundError` and `IsADirectoryError`."""
    found = Path(path).expanduser().absolute()
    if found.is_dir():
        raise IsADirectoryError(f"{found} is a folder: log flashtrial.Folder of it, or an archive")
    if not found.exists():
        raise FileNotFoundError(f"there is no file {found}")
    return found


def _is_file(text: str) -> bool:
    """Whether a text is the path of a file, and not a text."""
    try:
        return 0 < len(text) < 4096 and "\n" not in text and Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def _head(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb", buffering=0) as file:
        return file.read(HEAD_BYTES)
