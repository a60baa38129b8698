"""A stand-in for `runpod.App`, for sources written for `runpod` 2.0 on a worker that has an older `runpod`.

Those clients send the whole module: ``import runpod; app = runpod.App("x"); @app.queue(…) def f(…)``. The decorated
name is a handle around the real function. The stand-in is put in place only while such a source is executed, and hands
every other attribute on to the installed `runpod`, imported only if somebody asks. Observed in runpod 2.0.0rc2.
Runs inside children: standard library only.
"""

import contextlib
import functools
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

_MARKS = ("runpod.App", "import App")


class App:
    """Takes what `runpod.App` takes, and remembers nothing: the worker runs functions by name."""

    def __init__(self, name: str, **_options: object) -> None:
        self.name = name

    def _declare(self, **_options: object) -> Callable[[Callable[..., Any]], "Handle"]:
        return Handle

    queue = task = api = _declare


class Handle:
    """What the name of a decorated function is bound to; calling it runs the function here."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)  # type: ignore[attr-defined]

    local = __call__


class _StandIn(types.ModuleType):
    """`runpod` as such a source sees it."""

    App = App

    @staticmethod
    def local_entrypoint(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        sys.modules.pop("runpod", None)
        try:
            return getattr(importlib.import_module("runpod"), name)
        finally:
            sys.modules["runpod"] = self


@contextlib.contextmanager
def stand_in_for(source: str) -> Iterator[None]:
    """While the block runs, `import runpod` gives the stand-in, if `source` uses `runpod.App` at all."""
    if "runpod" not in source or not any(mark in source for mark in _MARKS):
        yield
        return
    before = sys.modules.get("runpod")
    if before is not None and hasattr(before, "App"):
        yield
        return
    sys.modules["runpod"] = _StandIn("runpod")
    try:
        yield
    finally:
        sys.modules.pop("runpod", None)
        if before is not None:
            sys.modules["runpod"] = before
