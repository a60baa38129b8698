"""tensorboardX: `add_scalar` for each name; a log survives when all its ten events are whole."""

import struct
from pathlib import Path

import subject
from tensorboardX import SummaryWriter
from tensorboardX.proto import event_pb2


def opened(directory: Path) -> tuple[subject.Log, subject.Finish]:
    writer = SummaryWriter(str(directory / "events"))

    def log(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return log, writer.close


def count(directory: Path) -> int:
    [written] = (directory / "events").glob("*tfevents*")
    data, place, scalars = written.read_bytes(), 0, 0
    while place + 12 <= len(data):
        (size,) = struct.unpack_from("<Q", data, place)
        if place + 16 + size > len(data):
            break
        scalars += len(event_pb2.Event.FromString(data[place + 12 : place + 12 + size]).summary.value)
        place += 16 + size
    return scalars // len(subject.TEN)


subject.main(opened, count)
