"""One thread that commits what many ask for, several requests to a transaction.

::

    submit ─▶ bounded queue ─▶ the thread: take all that wait, up to a group ─▶ commit(group) ─▶ resolve each future
                                           nothing waits: one chore, then look again

A future resolves after the commit of its group, or with the error that kept it from being committed.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeAlias, TypeVar

from flashtrial.core.errors import FlashtrialError

logger = logging.getLogger(__name__)

Request = TypeVar("Request")
Result = TypeVar("Result")

MAX_WAITING = 64
MAX_GROUP = 32
MAX_WAITING_BYTES = 64 * 1024 * 1024
JOIN_TIMEOUT_S = 30.0


class QueueFull(FlashtrialError):
    """Raised when more requests wait than the server will hold; try again in a moment."""


class NotRunning(FlashtrialError):
    """Raised when the writer's thread was not started, or was stopped."""


class CommitQueue(Generic[Request, Result]):
    """Hands requests to `commit` in groups, on a thread of its own.

    `commit` gets at least one request and returns one result for each: a value, or the exception that this request
    alone is answered with. What it raises fails the whole group. `opened` and `closed` run on the same thread, before
    the first and after the last group, so that a connection can belong to it. `chore`, too: it does a little of what
    can wait and tells whether more is left; it is called while nothing waits, after a group, until none is left.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Request]], Sequence[Result | Exception]],
        opened: Callable[[], None],
        closed: Callable[[], None],
        chore: Callable[[], bool] = lambda: False,
    ) -> None:
        self._commit = commit
        self._opened = opened
        self._closed = closed
        self._chore = chore
        self._waiting: queue.Queue[_Asked[Request, Result] | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._started: Future[None] = Future()
        # guards _accepting against a submit after the last look into the queue, and the count of bytes
        self._lock = threading.Lock()
        self._accepting = False
        self._waiting_bytes = 0

    def start(self) -> None:
        """Start the thread and wait until `opened` has returned. Raises what `opened` raised. Call once."""
        self._thread = threading.Thread(target=self._run, name="server-writer", daemon=True)
        self._thread.start()
        self._started.result()

    def stop(self) -> None:
        """Commit what was submitted, then end the thread. May be called twice, and without `start`."""
        if self._thread is None:
            return
        with self._lock:
            was_accepting, self._accepting = self._accepting, False
        if was_accepting:
            self._waiting.put(None)
        self._thread.join(JOIN_TIMEOUT_S)

    @property
    def is_running(self) -> bool:
        """Whether a request submitted now will be committed."""
        return self._accepting and self._thread is not None and self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """About how many requests wait."""
        return self._waiting.qsize()

    def submit(self, request: Request, size_bytes: int = 0) -> "Future[Result]":
        """The result to come; from any thread, never blocks. Raises `QueueFull` or `NotRunning`.

        `size_bytes` is about what the request holds on to. One request always fits, however large.
        """
        future: Future[Result] = Future()
        with self._lock:
            if not self._accepting:
                raise NotRunning("the server is starting or stopping: try again in a moment")
            if self._waiting_bytes and self._waiting_bytes + size_bytes > MAX_WAITING_BYTES:
                raise QueueFull(f"{self._waiting_bytes:,} bytes wait already: try again in a moment")
            try:
                self._waiting.put_nowait((request, future))
            except queue.Full:
                raise QueueFull(f"{MAX_WAITING} requests wait already: try again in a moment") from None
            self._waiting_bytes += size_bytes
        future.add_done_callback(lambda _: self._let_go(size_bytes))
        return future

    def _let_go(self, size_bytes: int) -> None:
        with self._lock:
            self._waiting_bytes -= size_bytes

    def _run(self) -> None:
        try:
            self._opened()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits in start()
            self._started.set_exception(error)
            return
        self._accepting = True
        self._started.set_result(None)
        try:
            while (first := self._next()) is not None:
                self._resolve(self._group_from(first))
        finally:
            self._accept_no_more()
            self._closed()

    def _next(self) -> "_Asked[Request, Result] | None":
        """What waits, else what comes; chores are done while nothing does."""
        while True:
            try:
                return self._waiting.get_nowait()
            except queue.Empty:
                if not self._do_chore():
                    return self._waiting.get()

    def _do_chore(self) -> bool:
        try:
            return self._chore()
        except Exception:  # nobody waits for it, and the thread must live
            logger.warning("a chore failed", exc_info=True, extra={"action": "chore_failed"})
            return False

    def _accept_no_more(self) -> None:
        """Whatever ended the thread, nobody waits for it for ever."""
        with self._lock:
            self._accepting = False
        with contextlib.suppress(queue.Empty):
            while True:
                item = self._waiting.get_nowait()
                if item is not None and item[1].set_running_or_notify_cancel():
                    item[1].set_exception(NotRunning("the server stopped before this was stored"))

    def _group_from(self, first: "_Asked[Request, Result]") -> "list[_Asked[Request, Result]]":
        """`first` and what waits behind it. An end mark found on the way is put back: it is the last thing there."""
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self._waiting.put(None)
                break
            group.append(item)
        return group

    def _resolve(self, asked: "list[_Asked[Request, Result]]") -> None:
        group = [(request, future) for request, future in asked if future.set_running_or_notify_cancel()]
        if not group:
            return
        try:
            results = self._commit([request for request, _ in group])
        except Exception as error:  # each waiting request is told of it, and the thread must live
            logger.warning("could not commit %d requests", len(group), exc_info=True, extra={"action": "commit_failed"})
            results = [error] * len(group)
        for (_, future), result in zip(group, results, strict=True):
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


_Asked: TypeAlias = "tuple[Request, Future[Result]]"
