"""Answers made to fit what the platform carries, before they are sent: a refused answer is a lost one.

The output is cut first, if that is enough; then the result goes to the volume, or to the tracking server where there is
no volume, and the answer says where; without either the answer is an error that says the sizes and keeps the output.
"""

import asyncio
import functools
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, NotRequired, Protocol, TypedDict

from flashtrial.process.head_and_tail import HeadAndTail
from flashtrial.process.outcome import Failure
from flashtrial.protocol.execution import FailureKind, FunctionRequest, FunctionResponse

RUNPOD_LIMIT_BYTES: Final = 10_000_000
"""Of an answer to ``/run``. To ``/runsync`` it is twice that, but a worker cannot know which of them a job came by."""

_ENVELOPE_BYTES: Final = 1024
_LEAST_OUTPUT_BYTES: Final = 4096
_LEAST_KEPT_BYTES: Final = 16
_LONGEST_ESCAPE: Final = 6
_ADVICE: Final = (
    "Return something smaller; or give the endpoint a network volume, or a tracking server (FLASHTRIAL_URL), for it."
)

# A client that drops fields it does not know, as the stock SDK does, gives its user None, and shows this.
_WHERE: Final = "the result ({size:,} bytes) is too large for an answer: it lies at {lies}, as result_ref says"

logger = logging.getLogger(__name__)


class ResultPlace(TypedDict):
    """Where a result lies (a path on the volume, or an address), and how to tell that it is whole."""

    path: NotRequired[str]
    url: NotRequired[str]
    bytes: int
    sha256: str


class ResultStore(Protocol):
    """Takes what is too large for an answer."""

    @property
    def name(self) -> str:
        """What it is, in a sentence to the user."""
        ...

    def put(self, job_id: str, content: bytes, /) -> ResultPlace:
        """Store the result of a job; blocks. Raises OSError."""
        ...


class ResultTooLarge(Exception):
    """Raised when a request declares a result that could not be answered; nothing was run."""


@dataclass(frozen=True, slots=True)
class PayloadLimits:
    """How large an answer may be in bytes (None: any size, nobody carries it away), and where larger results go."""

    limit_bytes: int | None = None
    store: ResultStore | None = None

    def check_declared(self, request: FunctionRequest) -> None:
        """Raises `ResultTooLarge` when the request's own word is that its result will not fit."""
        declared = request.expected_result_bytes
        if self.limit_bytes is not None and self.store is None and declared and declared > self.limit_bytes:
            raise ResultTooLarge(
                f"The call was not run: it declares a result of {_too_large(declared, self._limit)} {_ADVICE}"
            )

    async def fitted(self, response: FunctionResponse, job_id: str) -> FunctionResponse:
        """`response`, or what can be sent in its place."""
        if self.limit_bytes is None or _is_surely_within(response, self._limit):
            return response
        output_bytes = json_bytes(response.stdout)
        rest_bytes = json_bytes(response.to_wire()) - output_bytes
        if rest_bytes + output_bytes <= self._limit:
            return response
        if rest_bytes + min(output_bytes, _LEAST_OUTPUT_BYTES) <= self._limit:
            return response.model_copy(update={"stdout": cut(response.stdout, self._limit - rest_bytes)})
        if not response.success:
            return self._shortened(response)
        return await self._stored(response, job_id, rest_bytes)

    @property
    def _limit(self) -> int:
        return max((self.limit_bytes or 0) - _ENVELOPE_BYTES, _ENVELOPE_BYTES)

    async def _stored(self, response: FunctionResponse, job_id: str, size_bytes: int) -> FunctionResponse:
        if self.store is None:
            return self._refused(response, f"{_too_large(size_bytes, self._limit)} {_ADVICE}")
        form, content = _content(response)
        try:
            place = await _apart(functools.partial(self.store.put, job_id, content))
        except OSError as error:
            why = f"{_too_large(size_bytes, self._limit)} Writing it to {self.store.name} failed: {error}."
            return self._refused(response, why)
        reference: dict[str, Any] = {**place, "format": form}
        lies = place.get("path") or place.get("url")
        logger.info("result of job %s stored at %s", job_id, lies, extra={"action": "result_stored"})
        said = f"{_on_a_new_line(response.stdout)}[flashtrial] {_WHERE.format(size=place['bytes'], lies=lies)}\n"
        small = _without_result(response).model_copy(update={"result_ref": reference, "stdout": said})
        return self._with_short_output(small)

    def _refused(self, response: FunctionResponse, why: str) -> FunctionResponse:
        failure = Failure(FailureKind.RESULT, f"The call returned, but its result cannot be sent: it has {why}")
        return self._with_short_output(
            FunctionResponse(
                success=False,
                error=failure.message,
                error_kind=failure.kind,
                stdout=response.stdout,
                instance_id=response.instance_id,
                instance_info=response.instance_info,
                tracking=response.tracking,
            )
        )

    def _shortened(self, response: FunctionResponse) -> FunctionResponse:
        """A failure whose words alone are too many."""
        short = response.model_copy(update={"error": cut(response.error or "", self._limit // 2)})
        return self._with_short_output(short)

    def _with_short_output(self, response: FunctionResponse) -> FunctionResponse:
        rest_bytes = json_bytes(response.to_wire()) - json_bytes(response.stdout)
        return response.model_copy(update={"stdout": cut(response.stdout, self._limit - rest_bytes)})


async def _apart(act: Callable[[], ResultPlace]) -> ResultPlace:
    """What `act` comes to, in a thread that a process which leaves does not wait for: stores may be deaf."""
    done: Future[ResultPlace] = Future()

    def work() -> None:
        done.set_running_or_notify_cancel()
        try:
            done.set_result(act())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            done.set_exception(error)

    threading.Thread(target=work, name="result-store", daemon=True).start()
    return await asyncio.wrap_future(done)


def _on_a_new_line(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def json_bytes(value: object) -> int:
    """The size of `value` on the wire."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def cut(text: str, room_bytes: int) -> str:
    """`text` with its middle left out, so that it takes at most about `room_bytes` as JSON; whole where it fits."""
    size_bytes = json_bytes(text)
    data = text.encode("utf-8", "backslashreplace")
    kept_bytes = max(room_bytes, _LEAST_KEPT_BYTES)
    while size_bytes > room_bytes and kept_bytes >= _LEAST_KEPT_BYTES:
        kept_bytes = min(kept_bytes, len(data)) * 3 // 4
        kept = HeadAndTail(kept_bytes)
        kept.add(data)
        text = kept.text()
        size_bytes = json_bytes(text)
    return text


def _is_surely_within(response: FunctionResponse, limit_bytes: int) -> bool:
    """A look at the lengths, which spares most answers an encoding."""
    if response.json_result is not None and not isinstance(response.json_result, bool | int | float):
        return False
    texts = len(response.stdout) + len(response.error or "") + len(response.instance_id or "")
    return len(response.result or "") + _LONGEST_ESCAPE * texts + _LEAST_OUTPUT_BYTES <= limit_bytes


def _content(response: FunctionResponse) -> tuple[str, bytes]:
    """The bytes that the answer's own field would have held, and their format."""
    if response.result is not None:
        return "cloudpickle", response.result.encode("ascii")
    return "json", json.dumps(response.json_result, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _without_result(response: FunctionResponse) -> FunctionResponse:
    return FunctionResponse(
        success=True,
        stdout=response.stdout,
        instance_id=response.instance_id,
        instance_info=response.instance_info,
        tracking=response.tracking,
    )


def _too_large(size_bytes: int, limit_bytes: int) -> str:
    return f"{size_bytes:,} bytes, more than the {limit_bytes:,} that fit into an answer."
