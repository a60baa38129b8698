"""``POST /api/v1/heartbeat``: who writes, and who does not any more. Said by sync processes, every few seconds.

The wire is described in docs/decisions/002. What is not known of it is left aside, so that newer clients may say more.
"""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from flashtrial.server.answers import NOT_TAKEN, busy_answer, json_answer
from flashtrial.server.liveness import Beat, Role
from flashtrial.server.records import MAX_NAME_CHARS
from flashtrial.server.repository import Repository
from flashtrial.server.routes.shapes import ERRORS
from flashtrial.server.storage.heartbeats import WriterSight

MAX_WRITERS = 1000

Id = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]


class WriterBeat(BaseModel):
    """One writer of one run. `ended`: its records end the run already, so that it is gone says nothing."""

    run_id: Id
    writer_id: Id
    role: Role = Role.OWNER
    state: Beat
    ended: bool = False
    reason: Annotated[str, Field(max_length=10_000)] | None = None


class Heartbeat(BaseModel):
    """All writers of one outbox, or some of them where they are more than a thousand."""

    host: Annotated[str, Field(max_length=MAX_NAME_CHARS)] | None = None
    writers: Annotated[list[WriterBeat], Field(max_length=MAX_WRITERS)]


class Heard(BaseModel):
    """What the server made of it."""

    heard: Literal[True] = True


def router(repository: Repository) -> APIRouter:
    """The route, telling `repository`."""
    routes = APIRouter(prefix="/api/v1", tags=["ingest"])

    @routes.post(
        "/heartbeat", summary="Say which writers live; repeating it is safe", response_model=Heard, responses=ERRORS
    )
    async def heartbeat(beat: Heartbeat) -> Response:
        try:
            await asyncio.wrap_future(repository.hear([_sight(beat, writer) for writer in beat.writers]))
        except NOT_TAKEN as error:
            return busy_answer(error)
        return json_answer({"heard": True})

    return routes


def _sight(beat: Heartbeat, writer: WriterBeat) -> WriterSight:
    return WriterSight(writer.run_id, writer.writer_id, writer.role, writer.state, writer.reason, beat.host)
