"""Which parts of capture a run gets, by its settings and by what kind of process this is.

Each part's module is loaded only for who wants the part: `init` waits for it.
"""

import importlib
import sys
from collections.abc import Iterable
from typing import Any

from flashtrial.core import env
from flashtrial.tracking.capture.run_parts import RunPart
from flashtrial.tracking.settings.resolution import EffectiveSettings


def capture_parts(settings: EffectiveSettings) -> Iterable[RunPart]:
    """The parts, not started yet."""
    if settings.system_monitor:
        yield _made("monitor", "SystemMonitor", settings.system_interval_s)
    if settings.worker_id is not None:  # nothing is started there, and the worker has the output of each call
        if settings.facts:
            yield _made("facts_thread", "FactsThread")
        return
    console = console_is_safe() if settings.console is None else settings.console
    if console or settings.facts:
        yield _made("companion", "Companion", console=console, facts=settings.facts)


def console_is_safe() -> bool:
    """Whether descriptors 1 and 2 are this program's to lead elsewhere, and what it prints comes out there.

    Not at a prompt and in notebooks, whose front ends have the output already and talk to the terminal themselves, and
    not in tests under pytest, which leads the descriptors elsewhere for each test.
    """
    is_prompt = hasattr(sys, "ps1") or bool(sys.flags.interactive)
    is_test = "_pytest" in sys.modules and bool(env.get("PYTEST_CURRENT_TEST"))
    return not (is_prompt or is_test or _has_front_end())


def _has_front_end() -> bool:
    """Whether IPython runs this code, in a notebook or a terminal; that somebody imported it says nothing."""
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _made(module: str, name: str, *arguments: Any, **options: Any) -> RunPart:
    made: RunPart = getattr(importlib.import_module(f"{__package__}.{module}"), name)(*arguments, **options)
    return made
