"""The user's source, made into functions and classes, and their failures made into text they can read.

Sources are compiled once per text and given to `linecache`, so that tracebacks show the user's own lines. Each source
runs in a module named `USER_MODULE` whose classes and functions pickle by value. Runs inside children: standard library
and cloudpickle only.
"""

import ast
import asyncio
import contextlib
import functools
import inspect
import linecache
import shutil
import sys
import tempfile
import traceback
import types
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path, PurePosixPath
from typing import Any, Final

import cloudpickle

from flashtrial.process.runtime import runpod_app

USER_MODULE: Final = "flashtrial_user_code"
_SOURCES_KEPT: Final = 64
_NOTHING: Final = contextlib.nullcontext()
_MARK: Final = "<flashtrial "


class CodeNotFound(LookupError):
    """Raised when the source does not define the name that was asked for."""


class BadModules(ValueError):
    """Raised when a module that came with the request has a name that cannot be used."""


def load(source: str, name: str) -> Any:
    """What `source` defines as `name`, in a fresh module. Raises `CodeNotFound`, or whatever the source raises."""
    module = types.ModuleType(USER_MODULE)
    sys.modules[USER_MODULE] = module
    cloudpickle.register_pickle_by_value(module)
    code = _compiled(source, name)
    with runpod_app.stand_in_for(source) if "runpod" in source else _NOTHING:
        exec(code, module.__dict__)  # noqa: S102 - running the user's code is what we are for
    found = module.__dict__.get(name)
    if found is None:
        raise CodeNotFound(f"the source defines no {name!r}; it defines {_names(module) or 'nothing'}")
    return found


def run(call: Callable[[], Any], runner: asyncio.Runner, on_yield: Callable[[Any], None] | None = None) -> Any:
    """The call's value; coroutines are awaited on `runner`, generators of both kinds collected to a list.

    `on_yield` gets each value of a generator as it comes.
    """
    value = call()
    if inspect.isawaitable(value):
        return _run_to_its_end(_awaited(value), runner)
    if inspect.isasyncgen(value):
        return _run_to_its_end(_collected(value, on_yield), runner)
    if inspect.isgenerator(value):
        return [_told(item, on_yield) for item in value]
    return value


def _run_to_its_end(coroutine: Coroutine[Any, Any, Any], runner: asyncio.Runner) -> Any:
    """The coroutine's value. A signal that is raised in the loop itself cancels it, which otherwise would go on with
    the next call on this loop."""
    started: list[asyncio.Task[Any]] = []

    async def main() -> Any:
        started.extend(filter(None, [asyncio.current_task()]))
        return await coroutine

    try:
        return runner.run(main())
    except BaseException:
        for task in started:
            if not task.done():
                task.cancel()
                runner.run(_ended(task))
        raise
    finally:
        coroutine.close()


async def _ended(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})


async def _awaited(value: Any) -> Any:
    return await value


async def _collected(values: AsyncIterator[Any], on_yield: Callable[[Any], None] | None) -> list[Any]:
    return [_told(value, on_yield) async for value in values]


def _told(value: Any, on_yield: Callable[[Any], None] | None) -> Any:
    if on_yield is not None:
        on_yield(value)
    return value


def described(error: BaseException) -> str:
    """``Type: message`` and the traceback from the user's first frame on; never raises, whatever the exception does."""
    try:
        headline = "".join(traceback.format_exception_only(error)).strip()
        lines = traceback.format_exception(type(error), error, _user_frames(error.__traceback__))
        return f"{headline}\n\n{''.join(lines)}".rstrip()
    except Exception as broken:  # noqa: BLE001 - an exception class may raise from __str__, __repr__ or __notes__
        return f"{type(error).__name__} (its own text cannot be shown: {type(broken).__name__})"


def _user_frames(frames: types.TracebackType | None) -> types.TracebackType | None:
    """The frames from the user's first one on; none where no frame is the user's (their source did not compile)."""
    first = frames
    while first is not None and not first.tb_frame.f_code.co_filename.startswith(_MARK):
        first = first.tb_next
    return first


@functools.lru_cache(maxsize=_SOURCES_KEPT)
def _compiled(source: str, name: str) -> types.CodeType:
    filename = f"{_MARK}{name} {abs(hash(source)):x}>"
    for known in [name for name in linecache.cache if name.startswith(_MARK)][: 1 - _SOURCES_KEPT]:
        del linecache.cache[known]
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    return compile(source, filename, "exec")


def _names(module: types.ModuleType) -> str:
    return ", ".join(sorted(name for name in vars(module) if not name.startswith("_")))


class LocalModules:
    """Module sources that came with a request, importable while they are installed.

    They live in a directory of their own, in `scratch` where that is given, in front of `sys.path`; a module of the
    same name that was imported before (the worker's own, the standard library's) is set aside and put back by
    `remove`.
    """

    def __init__(self, sources: dict[str, str], scratch: str | None = None) -> None:
        self._scratch = scratch
        self._sources = {_checked(path): text for path, text in sources.items()}
        self._tops = {path.parts[0].removesuffix(".py") for path in self._sources}
        self._aside: dict[str, types.ModuleType] = {}
        self._directory: Path | None = None

    def install(self) -> None:
        """Write the sources and put them first; nothing happens when there are none."""
        if not self._sources:
            return
        self._directory = Path(tempfile.mkdtemp(prefix="flashtrial-modules-", dir=self._scratch))
        for path, text in self._sources.items():
            target = self._directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        self._aside = self._taken_out()
        sys.path.insert(0, str(self._directory))

    def remove(self) -> None:
        """Take the modules away again, with everything that was imported from them. Safe to call twice."""
        if self._directory is None:
            return
        self._taken_out()
        sys.modules.update(self._aside)
        if str(self._directory) in sys.path:
            sys.path.remove(str(self._directory))
        for path in [path for path in sys.path_importer_cache if path.startswith(str(self._directory))]:
            del sys.path_importer_cache[path]
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory = None

    def _taken_out(self) -> dict[str, types.ModuleType]:
        mine = [name for name in sys.modules if name.partition(".")[0] in self._tops]
        return {name: sys.modules.pop(name) for name in mine}


def _checked(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.suffix != ".py" or not path.stem.isidentifier():
        raise BadModules(f"modules: {name!r} is not a relative path of a Python file such as 'pkg/module.py'")
    return path


def imported_names(source: str) -> set[str]:
    """The dotted names that `source` may import anywhere in it; none when it does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                names.update(alias.name for alias in aliases)
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                names.add(module)
                names.update(f"{module}.{alias.name}" for alias in aliases)  # may be submodules, may be not
    return names
