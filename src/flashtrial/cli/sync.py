"""`flashtrial sync`: one round of sending in the foreground, by the same code as the sync process."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from flashtrial.cli.outbox import Waiting, most_pending, waiting
from flashtrial.core import env, files
from flashtrial.core.clock import SystemClock, utc_from_ms
from flashtrial.core.errors import ConfigurationError, FlashtrialError
from flashtrial.tracking.journal.handover import hand_over
from flashtrial.tracking.journal.outbox import is_locked, lock_path
from flashtrial.tracking.journal.progress import read_status
from flashtrial.tracking.journal.routes import NATIVE, Destinations, parse_backends
from flashtrial.tracking.media.uploads import FILES
from flashtrial.tracking.sending import sync_main
from flashtrial.tracking.sending.couriers import Couriers
from flashtrial.tracking.sending.feeds import sweep
from flashtrial.tracking.sending.sync_main import DRAIN_BUDGET_S
from flashtrial.tracking.settings.address import server_meant
from flashtrial.tracking.settings.names import BACKENDS, BY_NAME

OTHERS_PATIENCE_S = 10.0
_POLL_S = 0.05


class NotSent(FlashtrialError):
    """Raised when records are left after a round of sending; they stay in the outbox."""


def drain(home: Path, outbox: Path, url: str | None = None) -> str:
    """Send what `outbox` holds, all of it to `url` if given, and say how much that was.

    What runs has ended may be sent to some destinations only, those that FLASHTRIAL_BACKENDS names: the others are
    given up. Who asks for that, or for another server, takes the outbox over from a sync process that runs. Raises
    `NotSent` when records are left, and `ConfigurationError`.
    """
    wanted = _wanted(env.get(env.BACKENDS))
    for named, said in ((env.URL, env.get(env.URL) or None), ("--url", url)):
        if said is not None:
            BY_NAME["url"].parse(named, said)
    if not outbox.is_dir():
        return "nothing to send"
    records, file_count = most_pending(outbox)
    environment = {**env.snapshot(), **({env.URL: url} if url else {})}
    destinations = Destinations(wanted, url is not None, str(home))
    try:
        with _take_over(outbox) if url or wanted else files.file_lock(lock_path(outbox), wait=False):
            _send(home, outbox, environment, destinations)
    except files.Locked:
        _wait_for_the_sync_process(home, outbox)
    if left := _left(outbox):
        raise NotSent(left)
    sent = [f"{count} {what}" for count, what in ((records, "records"), (file_count, "files")) if count]
    return f"sent {' and '.join(sent)}" if sent else "nothing to send"


def _wanted(said: str) -> frozenset[str] | None:
    """The destinations that are not given up; None for all. Raises `ConfigurationError`."""
    names = parse_backends(said)
    if names is not None and (unknown := sorted(names - set(BACKENDS))):
        raise ConfigurationError(f"{env.BACKENDS} is one or more of {', '.join(BACKENDS)}, not {', '.join(unknown)}")
    return names


def _left(outbox: Path) -> str:
    """What waits still, for each destination, and why."""
    status = read_status(outbox)
    counts: dict[tuple[str, str], int] = {}
    for each in waiting(outbox):
        # All that is sent elsewhere is in the status by its name alone.
        reason = status.outages.get(each.where) or status.outages.get(each.destination) if status else None
        key = each.destination, reason or "a sync process is still at work"
        counts[key] = counts.get(key, 0) + each.records
    return "; ".join(
        f"{count} {'files' if name == FILES else 'records'} wait in {outbox}{_for(name)}: {reason}"
        for (name, reason), count in sorted(counts.items(), key=lambda item: item[0][0] != NATIVE)
    )


def _for(destination: str) -> str:
    return "" if destination in (NATIVE, FILES) else f" for {destination}"


def listed(outbox: Path) -> str:
    """What waits, a line for each run and destination: how many records, since when, and why."""
    return "\n".join(map(_line, waiting(outbox))) or "nothing waits"


def _line(each: Waiting) -> str:
    amount, since = f"{each.records} {each.unit}", f"since {_moment(each.since_ms)}"
    return f"{each.run_id}  {each.destination}  {amount}  {since}  {each.reason}"


def _moment(time_ms: int | None) -> str:
    return "?" if time_ms is None else utc_from_ms(time_ms).isoformat(" ", "seconds")


def _send(home: Path, outbox: Path, environment: Mapping[str, str], destinations: Destinations) -> None:
    couriers = Couriers(outbox, home, environment, SystemClock(), destinations)
    with contextlib.closing(couriers):
        sweep(outbox)
        while couriers.step_all():
            pass


def _wait_for_the_sync_process(home: Path, outbox: Path) -> None:
    """The one that runs may have been started without the token that the user has set by now."""
    token = env.get(env.TOKEN)
    if token:
        hand_over(outbox, server_meant(home, env.get(env.URL) or None), token, str(home))
    deadline = time.monotonic() + OTHERS_PATIENCE_S
    while waiting(outbox) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


@contextlib.contextmanager
def _take_over(outbox: Path) -> Iterator[None]:
    """Hold the outbox's lock; a sync process that has it is told to end, as often as one is started meanwhile.

    Raises `NotSent` when somebody else has it, or does not let go of it in time.
    """
    deadline = time.monotonic() + DRAIN_BUDGET_S + OTHERS_PATIENCE_S
    ended: set[int] = set()
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(files.file_lock(lock_path(outbox), wait=False))
                break
            except files.Locked:
                _end_sync_process(outbox, ended, is_late=time.monotonic() > deadline)
                time.sleep(_POLL_S)
        yield


def _end_sync_process(outbox: Path, ended: set[int], *, is_late: bool) -> None:
    """Tell the process that holds the outbox's lock to end, once. Raises `NotSent` when it is no sync process.

    The status may be a dead one's still: the new one has the lock before it has said anything.
    """
    status = read_status(outbox)
    pid = status.pid if status else 0
    words = _command_line(pid) if pid else []
    is_ours = sync_main.__name__.encode() in words and os.fsencode(outbox) in words
    if is_late or (words and not is_ours and is_locked(lock_path(outbox), shared=False)):
        who = f"process {pid}" if words else "a process that has not said its number"
        raise NotSent(f"{who} sends from {outbox} and does not end by itself: end it, then call again")
    if is_ours and pid not in ended:
        ended.add(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _command_line(pid: int) -> list[bytes]:
    """The words that process `pid` was started with; none where it is gone, or dead and not yet reaped."""
    try:
        return [word for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") if word]
    except OSError:
        return []
