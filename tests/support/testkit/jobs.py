"""Jobs as clients send them, and values as the SDK encodes them."""

import base64
from typing import Any

import cloudpickle


def function_job(source: str, name: str = "f", *args: Any, **more: Any) -> dict[str, Any]:
    """A job that runs `name` of `source` with JSON arguments."""
    request = {"function_name": name, "function_code": source, "args": list(args), "serialization_format": "json"}
    return {"id": "job", "input": {**request, **more}}


def method_job(source: str, name: str, instance_id: str, method: str, *args: Any, **more: Any) -> dict[str, Any]:
    """A job that calls a method as the SDK does: an instance id of the client's, made when missing."""
    request = {
        "execution_type": "class",
        "class_name": name,
        "class_code": source,
        "instance_id": instance_id,
        "create_new_instance": False,
        "method_name": method,
        "args": list(args),
        "serialization_format": "json",
    }
    return {"id": "job", "input": {**request, **more}}


def pickled(value: object) -> str:
    """`value` as the SDK sends it."""
    return base64.b64encode(cloudpickle.dumps(value)).decode()


def unpickled(text: str) -> Any:
    """What the SDK makes of a result."""
    return cloudpickle.loads(base64.b64decode(text))
