"""A floor: a line of JSON and a `write`."""

from pathlib import Path

import subject

from benchkit.floors import JsonLines


def opened(directory: Path) -> tuple[subject.Log, subject.Finish]:
    floor = JsonLines(directory)
    return floor.log, floor.close


def count(directory: Path) -> int:
    return len((directory / "floor.jsonl").read_bytes().splitlines())


subject.main(opened, count)
