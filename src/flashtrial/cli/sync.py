"""`flashtrial sync`: one round of sending in the foreground, by the same code as the sync process."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from flashtrial.cli.outbox import Waiting, files_pending, pending, waiting
from flashtrial.core import env, files
from flashtrial.core.clock import SystemClock, utc_from_ms
from flashtrial.core.errors import FlashtrialError
from flashtrial.tracking.journal.handover import hand_over
from flashtrial.tracking.journal.outbox import lock_path
from flashtrial.tracking.journal.progress import read_status
from flashtrial.tracking.journal.routes import Destinations, parse_backends
from flashtrial.tracking.media.uploads import FILES
from flashtrial.tracking.sending.couriers import Couriers
from flashtrial.tracking.sending.feeds import sweep

OTHERS_PATIENCE_S = 10.0
_POLL_S = 0.05


class NotSent(FlashtrialError):
    """Raised when records are left after a round of sending; they stay in the outbox."""


def drain(home: Path, outbox: Path, url: str | None = None) -> str:
    """Send what `outbox` holds, all of it to `url` if given, and say how much that was.

    Raises `NotSent` when records are left.
    """
    if not outbox.is_dir():
        return "nothing to send"
    before = pending(outbox)
    try:
        with files.file_lock(lock_path(outbox), wait=False):
            _send(home, outbox, {**env.snapshot(), **({env.URL: url} if url else {})}, elsewhere=url is not None)
    except files.Locked:
        _wait_for_the_sync_process(outbox)
    left = pending(outbox)
    if left:
        status = read_status(outbox)
        reason = (status.outage if status else None) or "a sync process is still at work"
        raise NotSent(f"{left} records wait in {outbox}: {reason}")
    if files_left := files_pending(outbox):
        raise NotSent(f"{files_left} files wait in {outbox}; `flashtrial sync --list` says why")
    return f"sent {before} records" if before else "nothing to send"


def listed(outbox: Path) -> str:
    """What waits, a line for each run and destination: how many records, since when, and why."""
    return "\n".join(map(_line, waiting(outbox))) or "nothing waits"


def _line(each: Waiting) -> str:
    unit = "files" if each.destination == FILES else "records"
    amount, since = f"{each.records} {unit}", f"since {_moment(each.since_ms)}"
    return f"{each.run_id}  {each.destination}  {amount}  {since}  {each.reason}"


def _moment(time_ms: int | None) -> str:
    return "?" if time_ms is None else utc_from_ms(time_ms).isoformat(" ", "seconds")


def _send(home: Path, outbox: Path, environment: Mapping[str, str], *, elsewhere: bool) -> None:
    configured = parse_backends(environment.get(env.BACKENDS, ""))
    couriers = Couriers(outbox, home, environment, SystemClock(), Destinations(configured, elsewhere))
    with contextlib.closing(couriers):
        sweep(outbox)
        while couriers.step_all():
            pass


def _wait_for_the_sync_process(outbox: Path) -> None:
    """The one that runs may have been started without the token that the user has set by now."""
    token = env.get(env.TOKEN)
    if token:
        hand_over(outbox, env.get(env.URL).rstrip("/"), token)
    deadline = time.monotonic() + OTHERS_PATIENCE_S
    while pending(outbox) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
