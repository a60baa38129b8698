"""``POST /api/v1/ingest``: records in, an account of each out, after the commit.

The body is taken apart by hand: a body of a thousand records costs ten times as much through models.
"""

import asyncio
from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from flashtrial.server.answers import NOT_TAKEN, busy_answer, error_answer, json_answer
from flashtrial.server.counters import IngestCounters
from flashtrial.server.ingest_body import BadBody, ParsedBody, parse_json, parse_msgpack
from flashtrial.server.repository import Repository
from flashtrial.server.routes.shapes import ERRORS, INGEST_BODY, IngestedShape
from flashtrial.server.storage.batches import BatchResult

# Smaller bodies are parsed where they are, in a few milliseconds; larger ones would hold the loop up.
INLINE_BYTES = 32 * 1024

_PARSERS: dict[str, Callable[[bytes], ParsedBody]] = {
    "application/msgpack": parse_msgpack,
    "application/x-msgpack": parse_msgpack,
    "application/vnd.msgpack": parse_msgpack,
    "application/json": parse_json,
    "application/x-ndjson": parse_json,
    "application/jsonl": parse_json,
}


def router(repository: Repository, counters: IngestCounters) -> APIRouter:
    """The route, storing into `repository`."""
    routes = APIRouter(prefix="/api/v1", tags=["ingest"])

    @routes.post(
        "/ingest",
        summary="Store records; repeating a request is safe",
        response_model=IngestedShape,
        responses=ERRORS,
        openapi_extra=INGEST_BODY,
    )
    async def ingest(request: Request) -> Response:
        answer = await _ingest(request, repository, counters)
        counters.rejected += answer.status_code >= 400
        return answer

    return routes


async def _ingest(request: Request, repository: Repository, counters: IngestCounters) -> Response:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    parse = _PARSERS.get(content_type)
    if parse is None or request.headers.get("content-encoding", "identity") != "identity":
        return error_answer(415, "unsupported_type", f"send {', '.join(_PARSERS)}, not compressed")
    body = await request.body()
    try:
        parsed = parse(body) if len(body) <= INLINE_BYTES else await run_in_threadpool(parse, body)
        results = await asyncio.wrap_future(repository.ingest(parsed.batches, len(body), _sent_ms(request)))
    except BadBody as error:
        return error_answer(400, "bad_body", str(error))
    except NOT_TAKEN as error:
        return busy_answer(error)
    except (ValueError, OverflowError) as error:
        words = f"nothing of this request was stored: {error}"
        return error_answer(503, "not_stored", words, {"Retry-After": "1"})
    counters.add(results)
    return json_answer(_account(parsed, results))


def _sent_ms(request: Request) -> int | None:
    """When the request was sent by its sender's clock, in ms, where it says so."""
    said = request.headers.get("flashtrial-sent-ms", "")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 16 else None


def _account(parsed: ParsedBody, results: list[BatchResult]) -> dict[str, object]:
    account: dict[str, object] = {"results": [_batch_account(result) for result in results]}
    if parsed.refused_lines:
        account["refused_lines"] = [{"line": line, "reason": reason} for line, reason in parsed.refused_lines]
    return account


def _batch_account(result: BatchResult) -> dict[str, object]:
    account: dict[str, object] = {
        "run_id": result.run_id,
        "writer_id": result.writer_id,
        "stored": result.stored,
        "duplicates": result.duplicates,
        "refused": [{"seq": refusal.seq, "reason": refusal.reason} for refusal in result.refused],
    }
    return account if result.error is None else {**account, "error": result.error}
