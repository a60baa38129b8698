"""A floor: orjson, a checksum and a `write`."""

import zlib
from pathlib import Path

import subject

from benchkit.floors import OrjsonFrames


def opened(directory: Path) -> tuple[subject.Log, subject.Finish]:
    floor = OrjsonFrames(directory)
    return floor.log, floor.close


def count(directory: Path) -> int:
    data, whole, place = (directory / "floor.frames").read_bytes(), 0, 0
    while place + 8 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4])
        whole += zlib.crc32(data[place + 8 : end]) == int.from_bytes(data[place + 4 : place + 8])
        place = end
    return whole


subject.main(opened, count)
