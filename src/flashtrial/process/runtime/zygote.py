"""The template process of one environment: imports done, nothing computed, children forked on request.

::

    handler ── Preload(source) ─▶ import what the source imports, fork a canary ── Preloaded ─▶ handler
            ── Fork + socket ───▶ fork ── Forked + pidfd ─▶ handler
            ── AskStatus(pid) ──▶ reap ── Status ─▶ handler

It stays at one Python thread and runs no parallel operation, since one such operation in it would make every child hang
in its own. Code that an import runs may hang, exit or crash: while children live, a fork imports first, and nothing is
imported here that it did not come through; that costs a second import. After each preload a canary child must finish a
parallel operation within `CANARY_DEADLINE_S`; when it does not, the handler is told and spawns instead. Standard
library, cloudpickle and ormsgpack only, until it preloads. Linux.
"""

import contextlib
import gc
import importlib
import logging
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import Final, NoReturn

from flashtrial.core import env
from flashtrial.process.channel import Channel, ChannelClosed
from flashtrial.process.runtime.instance_host import adopt_orphans, be_a_child, die_with_parent, put_in_front
from flashtrial.process.runtime.user_code import imported_names
from flashtrial.protocol.child import (
    AskStatus,
    Fork,
    Forked,
    Message,
    NotForked,
    Preload,
    Preloaded,
    ProtocolError,
    Setup,
    Status,
)

CANARY_DEADLINE_S: Final = 5.0
TRIAL_DEADLINE_S: Final = 60.0
# Ours are already what the child shall have; the SDKs cost seconds and user code reaches them through a stand-in.
_NEVER_PRELOADED: Final = frozenset({"flashtrial", "runpod", "runpod_flash", "__main__", "__future__"})
_STATUSES_KEPT: Final = 256
_CUDA_DEVICE: Final = "/dev/nvidia-uvm"

logger = logging.getLogger(__name__)


class Zygote:
    """Serves one handler; the parent of every child it forks, and the only one who can reap them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._pidfds: dict[int, int] = {}
        self._statuses: dict[int, int] = {}
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def serve(self) -> None:
        """Answer requests and reap children until the handler is gone."""
        while True:
            ready = {descriptor for descriptor, _events in self._poll.poll()}
            # the dead first: answering may reap as well, and a new child may get a dead one's descriptor number
            for pidfd in ready & self._pidfds.keys():
                self._reap(pidfd)
            if self._channel.fileno() in ready and not self._answer_ready():
                return

    def _answer_ready(self) -> bool:
        try:
            for message, descriptors in self._channel.receive_ready():
                self._answer(message, descriptors)
        except ChannelClosed:
            return False
        return True

    def _answer(self, message: Message, descriptors: list[int]) -> None:
        match message:
            case Setup(paths=paths, variables=variables):
                put_in_front(paths)
                env.set_all(variables)
            case Preload(source=source, local_names=local_names):
                self._channel.send(_preload(source, local_names, has_children=bool(self._pidfds)))
            case Fork(variables=variables):
                self._fork(descriptors[0], variables)
            case AskStatus(pid=pid):
                self._reap_now(pid)
                self._channel.send(Status(pid, self._statuses.get(pid)))
            case _:
                raise ProtocolError(f"a zygote does not take {type(message).__name__}")

    def _fork(self, endpoint: int, variables: Mapping[str, str]) -> None:
        gc.collect()
        gc.freeze()  # a collection in the child would touch, and so copy, every page of what was imported
        try:
            pid = os.fork()
        except OSError as error:  # the machine's limits are no reason for the children that live to die
            os.close(endpoint)
            self._channel.send(NotForked(str(error)))
            return
        if pid == 0:
            self._become_child(endpoint, variables)
        os.close(endpoint)
        pidfd = os.pidfd_open(pid)
        self._pidfds[pidfd] = pid
        self._poll.register(pidfd, select.POLLIN)
        self._channel.send(Forked(pid), [pidfd])

    def _become_child(self, endpoint: int, variables: Mapping[str, str]) -> NoReturn:
        env.set_all(variables)
        self._channel.close()
        for pidfd in self._pidfds:
            os.close(pidfd)
        os.setsid()
        _renew_randomness()
        be_a_child(socket.socket(fileno=endpoint))

    def _reap_now(self, pid: int) -> None:
        for pidfd in [known for known, owner in self._pidfds.items() if owner == pid]:
            self._reap(pidfd)

    def _reap(self, pidfd: int) -> None:
        pid = self._pidfds.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        # while the dead leader is not reaped its number cannot be another's: the moment to end what it left behind
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        _pid, status = os.waitpid(pid, 0)
        self._statuses[pid] = os.waitstatus_to_exitcode(status)
        while len(self._statuses) > _STATUSES_KEPT:
            self._statuses.pop(next(iter(self._statuses)))
        self._end_orphans()

    def _end_orphans(self) -> None:
        """End what dead children left: a child adopts its own orphans, so one that is ours lost its child."""
        while orphans := _children_of_this_process() - set(self._pidfds.values()):
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _children_of_this_process() -> set[int]:
    """Source: /proc/PID/task/TID/children, proc(5); empty where the kernel does not have it."""
    try:
        listed = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text(encoding="ascii")
    except OSError:
        return set()
    return {int(pid) for pid in listed.split()}


def _preload(source: str, local_names: Sequence[str], *, has_children: bool) -> Preloaded:
    """Import what `source` imports. While children live from this process, a fork of it tries first.

    What cannot be imported here cannot be imported in the child either, where the user is told.
    """
    before = set(sys.modules)
    wanted = [name for name in sorted(imported_names(source)) if _may_preload(name, local_names)]
    if wanted and (not has_children or _survives(lambda: _import(wanted), TRIAL_DEADLINE_S)):
        _import(wanted)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would take the dead from us
    new = tuple(sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
    if not new:
        return Preloaded((), safe=True, reason="")
    reason = _why_unsafe()
    return Preloaded(new, safe=not reason, reason=reason)


def _import(names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(BaseException):  # an import may call sys.exit
            importlib.import_module(name)


def _may_preload(name: str, local_names: Sequence[str]) -> bool:
    top = name.partition(".")[0]
    if top in _NEVER_PRELOADED or top in local_names or top in sys.stdlib_module_names:
        return False
    try:
        return util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _why_unsafe() -> str:
    if threading.active_count() > 1:
        return "an imported package started a thread"
    if _has_open(_CUDA_DEVICE):
        return "an imported package opened the GPU, which fixes what every forked child would see of it"
    if _survives(_run_parallel_operations, CANARY_DEADLINE_S):
        return ""
    return f"a forked child did not finish a parallel operation within {CANARY_DEADLINE_S:.0f} s"


def _run_parallel_operations() -> None:
    for operation in _parallel_operations():
        operation()


def _survives(act: Callable[[], None], deadline_s: float) -> bool:
    """Whether a fork of this process comes through `act` in time."""
    template = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        return False
    if pid == 0:
        _be_a_canary(act, template)
    if not _ended_within(pid, deadline_s):
        os.kill(pid, signal.SIGKILL)
    _pid, status = os.waitpid(pid, 0)
    return status == 0


def _be_a_canary(act: Callable[[], None], template: int) -> NoReturn:
    code = 1
    try:
        die_with_parent()
        if os.getppid() == template:
            act()
            code = 0
    finally:
        os._exit(code)


def _parallel_operations() -> Iterator[Callable[[], object]]:
    """Operations of the imported numeric packages that use their thread pools."""
    if numpy := sys.modules.get("numpy"):
        square = numpy.ones((256, 256))
        yield lambda: square @ square
    if linalg := sys.modules.get("scipy.linalg"):
        yield lambda: linalg.blas.dgemm(1.0, square, square)
    if torch := sys.modules.get("torch"):
        yield lambda: torch.ones(1 << 20).sum()
        yield lambda: torch.ones(256, 256) @ torch.ones(256, 256)


def _has_open(path: str) -> bool:
    return any(_target(descriptor) == path for descriptor in Path("/proc/self/fd").iterdir())


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # the listing's own descriptor is closed by now
        return ""


def _ended_within(pid: int, deadline_s: float) -> bool:
    pidfd = os.pidfd_open(pid)
    try:
        return bool(select.select([pidfd], [], [], deadline_s)[0])
    finally:
        os.close(pidfd)


def _renew_randomness() -> None:
    """`random` renews itself after a fork; what numpy and torch would draw must differ between children as well."""
    if (numpy := sys.modules.get("numpy")) and "numpy.random" in sys.modules:
        numpy.random.seed()
    if torch := sys.modules.get("torch"):
        torch.seed()


def main() -> None:
    """Entry of the template process: the number of its control socket is the last argument."""
    die_with_parent()
    adopt_orphans()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # a call may be cancelled before its child listens
    Zygote(Channel(socket.socket(fileno=int(sys.argv[-1])))).serve()
