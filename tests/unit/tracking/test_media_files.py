"""Files: what each kind of value becomes, byte by byte where that can be told."""

import io
import json
import struct
import wave
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flashtrial
from flashtrial.tracking.media.files import Artifact, Audio, File, Image, Text, Video
from flashtrial.tracking.media.staging import staged_path
from flashtrial.tracking.values import Loggable


def logged(outbox: Path, value: File) -> tuple[dict[str, Any], bytes]:
    """The record's body, which msgpack and JSON hold, and the staged bytes."""
    kind, body = value.stage_record(outbox)
    assert kind == "file"
    path = staged_path(outbox, body)
    assert path is not None
    return json.loads(json.dumps(body)), path.read_bytes()


def pixels_of(png: bytes) -> tuple[int, int, int, bytes]:
    """Width, height, colour type and rows (filter 0) of a PNG, whose checksums are right."""
    position, header, packed = 8, b"", b""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    while position < len(png):
        (length,) = struct.unpack_from(">I", png, position)
        kind, data = png[position + 4 : position + 8], png[position + 8 : position + 8 + length]
        assert struct.unpack_from(">I", png, position + 8 + length)[0] == zlib.crc32(kind + data)
        header = data if kind == b"IHDR" else header
        packed += data if kind == b"IDAT" else b""
        position += 12 + length
    width, height, _, colour = struct.unpack_from(">IIBB", header)
    rows = zlib.decompress(packed)
    stride = len(rows) // height
    assert all(rows[start] == 0 for start in range(0, len(rows), stride))
    return width, height, colour, b"".join(rows[start + 1 : start + stride] for start in range(0, len(rows), stride))


def test_every_kind_is_a_name_of_the_package_and_can_be_logged() -> None:
    assert (flashtrial.Image, flashtrial.File, flashtrial.Artifact) == (Image, File, Artifact)
    assert isinstance(Text("x"), Loggable)


def test_a_file_of_the_disk_keeps_name_type_and_bytes(outbox: Path, tmp_path: Path) -> None:
    path = tmp_path / "ünï <b>code 🎈.json"
    path.write_bytes(b'{"a": 1}')
    body, content = logged(outbox, File(path, caption="what it is"))
    assert content == b'{"a": 1}'
    assert (body["type"], body["mime"], body["file_name"]) == ("file", "application/json", path.name)
    assert (body["size"], body["caption"]) == (8, "what it is")


def test_a_file_is_read_when_it_is_logged_and_a_value_in_memory_when_it_is_wrapped(
    outbox: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    array = np.zeros((2, 2), dtype=np.uint8)
    file, image = File(path), Image(array)
    path.write_text("after")
    array[:] = 255
    assert logged(outbox, file)[1] == b"after"
    assert pixels_of(logged(outbox, image)[1])[3] == b"\0\0\0\0"


def test_a_file_that_is_gone_is_said_by_its_name(outbox: Path, tmp_path: Path) -> None:
    path = tmp_path / "gone"
    with pytest.raises(FileNotFoundError, match="gone"):
        File(path)
    with pytest.raises(IsADirectoryError, match="archive"):
        Artifact(tmp_path)
    path.write_text("x")
    file = File(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="gone"):
        file.stage_record(outbox)


@pytest.mark.parametrize(
    ("array", "colour", "expected"),
    [
        (np.array([[0, 255], [7, 300]]), 0, [0, 255, 7, 255]),
        (np.array([[0.0, 1.0], [0.5, np.nan]]), 0, [0, 255, 128, 0]),
        (np.array([[0.0, 200.4], [-5.0, np.inf]]), 0, [0, 200, 0, 255]),
        (np.array([[0.0, 1.0], [0.5, np.nan]], np.float16), 0, [0, 255, 128, 0]),
        (np.array([[True, False]]), 0, [255, 0]),
        (np.arange(12, dtype=np.uint8).reshape(2, 2, 3), 2, list(range(12))),
        (np.arange(12, dtype=np.uint8).reshape(3, 2, 2), 2, [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]),
        (np.arange(16, dtype=np.uint8).reshape(2, 2, 4), 6, list(range(16))),
        (np.arange(6, dtype=np.uint8).reshape(1, 1, 2, 3), 2, list(range(6))),
        (np.arange(4, dtype=np.uint8).reshape(1, 2, 2), 0, [0, 1, 2, 3]),
    ],
)
def test_arrays_become_the_pixels_that_they_mean(outbox: Path, array: Any, colour: int, expected: list[int]) -> None:
    body, content = logged(outbox, Image(array, "a caption"))
    _, _, found, pixels = pixels_of(content)
    assert (found, list(pixels)) == (colour, expected)
    assert (body["mime"], body["file_name"], body["caption"]) == ("image/png", "image.png", "a caption")


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((2, 2, 7)), np.zeros((0, 2)), np.array([["a"]])])
def test_an_array_that_is_no_picture_is_refused(array: Any) -> None:
    with pytest.raises(ValueError, match="picture"):
        Image(array)


def test_values_that_are_no_file_are_refused_by_their_type() -> None:
    for wrong in (3, None, object(), [1, 2]):
        with pytest.raises(TypeError, match=type(wrong).__name__):
            Image(wrong)


class Figure:
    """As matplotlib's."""

    def savefig(self, out: io.BytesIO, format: str) -> None:  # noqa: A002
        out.write(b"\x89PNG\r\n\x1a\n" + format.encode())


class Axes:
    figure = Figure()


class Picture:
    """As PIL's."""

    def __init__(self, mode: str) -> None:
        self.mode = mode

    def convert(self, mode: str) -> "Picture":
        return Picture(mode)

    def save(self, out: io.BytesIO, format: str) -> None:  # noqa: A002
        out.write(b"\x89PNG\r\n\x1a\n" + self.mode.encode() + format.encode())


@pytest.mark.parametrize(
    ("value", "end"), [(Figure(), b"png"), (Axes(), b"png"), (Picture("RGB"), b"RGBPNG"), (Picture("CMYK"), b"RGBPNG")]
)
def test_figures_and_pictures_of_other_libraries_are_saved_by_themselves(
    outbox: Path, value: object, end: bytes
) -> None:
    body, content = logged(outbox, Image(value))
    assert content.endswith(end)
    assert body["mime"] == "image/png"


def test_bytes_tell_what_they_are(outbox: Path) -> None:
    assert logged(outbox, Image(b"\xff\xd8\xff\xe0jpeg"))[0]["file_name"] == "image.jpg"
    assert logged(outbox, Audio(b"RIFF\0\0\0\0WAVEfmt "))[0]["mime"] == "audio/wav"
    assert logged(outbox, Video(b"\0\0\0\x18ftypmp42"))[0]["mime"] == "video/mp4"
    assert logged(outbox, Video(b"unknown", format="mkv"))[0]["mime"] == "video/x-matroska"
    assert logged(outbox, Artifact(bytearray(b"?"), metadata={"k": np.int64(3)}))[0]["meta"] == {"k": 3}


def test_sound_becomes_wav(outbox: Path) -> None:
    body, content = logged(outbox, Audio(np.array([[0.0, 1.0], [-1.0, 2.0], [0.5, np.nan]]), rate=8000))
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        assert struct.unpack("<6h", file.readframes(3)) == (0, 32767, -32767, 32767, 16383, 0)
    assert (body["mime"], body["meta"]) == ("audio/wav", {"rate": 8000})


def test_frames_become_an_animated_png(outbox: Path) -> None:
    frames = np.zeros((5, 3, 8, 6), dtype=np.uint8)
    frames[2] = 200
    body, content = logged(outbox, Video(frames, rate=10))
    assert (content.count(b"fcTL"), content.count(b"fdAT"), content.count(b"IDAT")) == (5, 4, 1)
    assert pixels_of(content)[:3] == (6, 8, 2)
    assert (body["type"], body["mime"], body["meta"]) == ("video", "image/apng", {"rate": 10})
    with pytest.raises(ValueError, match="frames"):
        Video(frames, rate=0)
    with pytest.raises(ValueError, match="video"):
        Video(np.zeros(3))


def test_a_text_is_a_path_only_where_there_is_such_a_file(outbox: Path, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("from the disk")
    assert logged(outbox, Text(str(path)))[1] == b"from the disk"
    assert logged(outbox, Text(str(path)))[0]["mime"] == "text/plain"
    for words in ("just words", "no/such/file", "two\nlines", "", "x" * 5000, "nul\0", "lone \ud800"):
        body, content = logged(outbox, Text(words))
        assert content.decode() == words.encode("utf-8", "backslashreplace").decode()
        assert body["file_name"] == "text.txt"
