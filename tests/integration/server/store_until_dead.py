"""A process that stores, seals, removes, imports and backs up, and dies again and again in the middle of it.

``argv``: home, the file of what was acknowledged, what to import, how often, seed. Each life is a fork, so that modules
are imported once; it ends by a signal that nobody catches, at a random moment of its first 150 ms of work.
"""

import hashlib
import itertools
import os
import random
import signal
import sys
from pathlib import Path

from flashtrial.core.clock import SystemClock
from flashtrial.protocol.records import Batch, encode_batches, encode_record
from flashtrial.server.exchange.backups import back_up
from flashtrial.server.exchange.intake import import_runs
from flashtrial.server.files.blobs import BlobKey, BlobStore
from flashtrial.server.ingest_body import parse_msgpack
from flashtrial.server.repository import Repository
from flashtrial.server.settings import ServerSettings

POINTS = 300
LONGEST_LIFE_S = 0.15


class Life:
    """What one fork does until it dies."""

    def __init__(self, settings: ServerSettings, told: Path, number: int) -> None:
        self.settings = settings
        self.number = number
        self.told = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.repository = Repository(settings.db_path, SystemClock(), lambda _: None)
        self.blobs = BlobStore(settings.blobs_dir, settings.blob_limits)

    def tell(self, *words: object) -> None:
        os.write(self.told, (" ".join(map(str, words)) + "\n").encode())

    def live(self, rng: random.Random, source: Path) -> None:
        self.repository.start()
        self.blobs.start()
        for turn in itertools.count():
            run = f"run-{self.number}-{turn}"
            self.store(run)
            match rng.randrange(4):
                case 0:
                    self.tell("removing", run)
                    removal = self.repository.remove(run).result(10)
                    for sha256 in removal.forgotten:
                        self.blobs.remove(sha256)
                    self.tell("removed", run)
                case 1:
                    import_runs(self.settings, source)
                    self.tell("imported")
                case 2:
                    back_up(self.settings, self.settings.home.parent / "copy.db")

    def store(self, run: str) -> None:
        """Two batches of a run that then ends, so that its tail is sealed; and a file."""
        content = f"{run} {random.random()}".encode()
        key = BlobKey(hashlib.sha256(content).hexdigest(), len(content))
        self.blobs.begin(key)
        self.blobs.write(key, 0, content)
        self.blobs.commit(key)
        for first in (1, POINTS + 1):
            frames = [
                encode_record(seq, "metric", seq, {"step": seq, "values": {"x": float(seq)}})
                for seq in range(first, first + POINTS)
            ]
            if first > 1:
                named = {"name": "f", "type": "artifact", "sha256": key.sha256, "size": key.size_bytes}
                frames.append(encode_record(2 * POINTS + 1, "file", 1, named))
                frames.append(encode_record(2 * POINTS + 2, "state", 1, {"status": "finished"}))
            parsed = parse_msgpack(encode_batches([Batch(run, "w", b"".join(frames))]))
            self.repository.ingest(parsed.batches).result(10)
            self.tell("stored", run, first, first + POINTS - 1)


def main(home: str, told: str, source: str, lives: str, seed: str) -> int:
    rng = random.Random(int(seed))
    settings = ServerSettings(Path(home))
    for number in range(int(lives)):
        life_s = rng.uniform(0.002, LONGEST_LIFE_S)
        pid = os.fork()
        if pid == 0:
            try:
                signal.setitimer(signal.ITIMER_PROF, life_s)  # of its own work, whatever else the machine does
                Life(settings, Path(told), number).live(rng, Path(source))
            finally:
                os._exit(3)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
