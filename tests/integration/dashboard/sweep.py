"""Eight runs of a sweep, as their writers send them: plain arithmetic, so that tests can foretell what is shown."""

import math
import time

from flashtrial.protocol.records import Batch, encode_record
from testkit.tracking_server import batch

POINTS = 20
MARKUP = "<img src=x onerror=alert(1)>"
NAMES = [f"trial-{number}" for number in range(7)] + [MARKUP]


def run_id(number: int) -> str:
    return f"run_sweep{number}"


def accuracy(number: int, step: int) -> float:
    """What run `number` logs at `step`; run 5 ends best."""
    return (1 - 0.02 * (number - 5) ** 2) * step / POINTS


def loss(number: int, step: int) -> float:
    """Falls with the step; run 3 loses its footing at step 15."""
    return math.nan if number == 3 and step > 15 else (number + 1) / step


def eight_runs() -> list[Batch]:
    """A minute apart, the last begun a minute ago; run 0 still goes on, run 3 has failed, the rest is finished."""
    return [_run(number) for number in range(8)]


def _run(number: int) -> Batch:
    began_ms = time.time_ns() // 1_000_000 - (8 - number) * 60_000
    seqs = iter(range(1, 1000))

    def record(kind: str, after_ms: int, body: dict[str, object]) -> bytes:
        return encode_record(next(seqs), kind, began_ms + after_ms, body)

    frames = [record("state", 0, _opening(number))]
    for step in range(1, POINTS + 1):
        values = {"accuracy": accuracy(number, step), "loss": loss(number, step), "train/lr": 0.1 / (number + 1)}
        frames.append(record("metric", step * 1000, {"step": step, "values": values}))
    frames.append(record("console", 500, {"stream": "stdout", "line": 1, "text": f"\x1b[1mhello from {number}\x1b[0m"}))
    frames.append(record("console", 600, {"stream": "stderr", "line": 2, "text": f"<b>careful {number}</b>"}))
    if number == 3:
        frames.append(record("state", 30_000, {"status": "failed", "reason": "ValueError: the loss is NaN"}))
    elif number != 0:
        frames.append(record("state", 30_000, {"status": "finished"}))
    return batch(run_id(number), *frames)


def _opening(number: int) -> dict[str, object]:
    config = {"optimizer": {"lr": 0.1 / (number + 1), "name": "sgd"}, "batch_size": 64 if number % 2 else 128}
    tags = ["sweep", "baseline"] if number == 0 else ["sweep"]
    return {"status": "running", "project": "digits", "name": NAMES[number], "config": config, "tags": tags}
