"""Run each `test_*.json` of a folder through the real handler and compare the answers with `expected/`.

Usage: test_handler.py FOLDER [NAME ...]

A fixture is one job ``{"input": …}`` or a list of jobs for one process; each fixture gets a process and a home of its
own. A fixture without an expectation fails. Exit status 1 when any answer differs.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from flashtrial.testing.matching import differences

SOURCE = Path(__file__).resolve().parents[1] / "src"
DEADLINE_S = 300


def main(folder: Path, names: list[str]) -> int:
    fixtures = sorted(path for path in folder.glob("test_*.json") if not names or path.stem in names)
    if not fixtures:
        print(f"no test_*.json in {folder}", file=sys.stderr)
        return 1
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        verdicts = list(pool.map(check, fixtures))
    for fixture, problems in zip(fixtures, verdicts, strict=True):
        print(f"{'FAILED' if problems else 'ok    '} {fixture.stem}")
        for problem in problems:
            print(f"         {problem}")
    bad = sum(bool(problems) for problems in verdicts)
    print(f"{len(fixtures) - bad} passed, {bad} failed")
    return 1 if bad else 0


def check(fixture: Path) -> list[str]:
    """Why the handler's answers to `fixture` are not the expected ones; empty when they are."""
    expected_path = fixture.parent / "expected" / fixture.name
    if not expected_path.exists():
        return [f"there is no expectation: {expected_path}"]
    with tempfile.TemporaryDirectory(prefix="flashtrial-fixture-") as scratch:
        answers = Path(scratch) / "answers.json"
        command = [sys.executable, __file__, "--run", str(fixture), str(answers)]
        ran = subprocess.run(
            command,
            env=_environment(scratch),
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        if ran.returncode != 0:
            return [f"the handler process ended with {ran.returncode}: {ran.stderr[-2000:]}"]
        return differences(json.loads(expected_path.read_text()), json.loads(answers.read_text()))


def _environment(scratch: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNPOD_", "FLASHTRIAL_"))}
    return {**kept, "FLASHTRIAL_HOME": f"{scratch}/home", "LOG_LEVEL": "INFO"}


def run(fixture: Path, answers: Path) -> None:
    """In a process of its own: every job of the fixture, one after the other, through `handler.handler`."""
    sys.path.insert(0, str(SOURCE))
    from handler import handler  # noqa: PLC0415 - only this process may build a worker

    content = json.loads(fixture.read_text())

    async def jobs() -> Any:
        if isinstance(content, list):
            return [await handler(job) for job in content]
        return await handler(content)

    answers.write_text(json.dumps(asyncio.run(jobs())))


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        run(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
