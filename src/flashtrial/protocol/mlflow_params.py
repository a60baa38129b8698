"""A configuration as MLflow has it, which our backend writes and our server shows: parameters, texts by name."""

import json
from collections.abc import Mapping
from typing import Any

from flashtrial.core.nested import leaves


def params_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Maps within maps by names with slashes, lists as JSON, other values as Python writes them."""
    return {name: value if isinstance(value, str) else _text(value) for name, value in leaves(config, "/")}


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
