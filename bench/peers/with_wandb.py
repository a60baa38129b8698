"""wandb, offline: history records in its .wandb file, a log of blocks as LevelDB writes it."""

from pathlib import Path

import subject
import wandb
from wandb.proto import wandb_internal_pb2

BLOCK_BYTES = 32 * 1024
HEADER_BYTES = 7  # of the file, and of each piece: checksum, length, kind
LAST_KINDS = (1, 4)


def opened(directory: Path) -> tuple[subject.Log, subject.Finish]:
    quiet = wandb.Settings(console="off", x_disable_stats=True, silent=True)
    run = wandb.init(project="bench", mode="offline", dir=str(directory), settings=quiet)
    return (lambda values, step: run.log(values, step=step)), run.finish


def records(data: bytes) -> list[bytes]:
    """The whole records of a file; what is torn ends them."""
    whole, parts, place = [], b"", HEADER_BYTES
    while place + HEADER_BYTES <= len(data):
        room = BLOCK_BYTES - place % BLOCK_BYTES
        if room < HEADER_BYTES:
            place += room
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        piece = data[place + HEADER_BYTES : place + HEADER_BYTES + size]
        if kind == 0 or len(piece) < size:
            break
        parts += piece
        if kind in LAST_KINDS:
            whole.append(parts)
            parts = b""
        place += HEADER_BYTES + size
    return whole


def count(directory: Path) -> int:
    [written] = directory.glob("wandb/offline-run-*/*.wandb")
    kinds = [
        wandb_internal_pb2.Record.FromString(each).WhichOneof("record_type") for each in records(written.read_bytes())
    ]
    return kinds.count("history")


subject.main(opened, count)
