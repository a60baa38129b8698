"""What a request to the dispatcher asks for, taken from its body and its query."""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Request

from flashtrial.server.control.control_views import Page
from flashtrial.server.control.json_views import is_storable
from flashtrial.server.records import MAX_INT64
from flashtrial.server.views import MAX_PAGE


class BadRequest(ValueError):
    """Raised when a request lacks something or brings what cannot be; the message is the answer's."""


async def body_of(request: Request) -> dict[str, Any]:
    """The map in the body, empty where there is no body. Raises `BadRequest`."""
    raw = await request.body()
    try:
        body = orjson.loads(raw) if raw.strip() else {}
    except orjson.JSONDecodeError as error:
        raise BadRequest("the body is not JSON") from error
    if not isinstance(body, dict):
        raise BadRequest("the body is not a map")
    return body


def run_id_in(body: Mapping[str, Any]) -> int:
    """The run's id, also where it is a number in words, as names of runs are. Raises `BadRequest`."""
    match body.get("run_id"):
        case None:
            raise BadRequest("run_id is required")
        case bool():
            pass
        case int(number) if 0 < number <= MAX_INT64:
            return number
        case str(text) if text.isascii() and text.isdecimal() and len(text) < 19:
            return int(text)
    raise BadRequest("run_id is a number from 1 on")


def name_in(body: Mapping[str, Any]) -> str | None:
    """The experiment's name, where it is given. Raises `BadRequest`."""
    name = body.get("experiment_name")
    if name is None or isinstance(name, str):
        return name or None
    raise BadRequest("experiment_name is a text")


def config_in(body: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a clone, whole or a part of it, under either of its names. Raises `BadRequest`."""
    config = body.get("config_leaf", body.get("config"))
    if not isinstance(config, dict) or not is_storable(config):
        raise BadRequest("config_leaf (or config) is required: a map of what is to be other than the parent has it")
    return config


def warm_start_in(body: Mapping[str, Any]) -> bool:
    """Whether a clone starts from the weights of its parent. Raises `BadRequest`."""
    warm_start = body.get("warm_start", False)
    if not isinstance(warm_start, bool):
        raise BadRequest("warm_start is true or false")
    return warm_start


def page_in(request: Request) -> Page | None:
    """The part of a list that is asked for; None where it is not said. Raises `BadRequest`."""
    if not {"limit", "offset"} & request.query_params.keys():
        return None
    return Page(_number(request, "offset", 0, MAX_INT64), _number(request, "limit", MAX_PAGE, MAX_PAGE))


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most:
        return int(text)
    raise BadRequest(f"{name} is a number from 0 to {most}")
