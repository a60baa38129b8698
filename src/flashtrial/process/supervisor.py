"""Which child runs which call: the placement policy, in one place.

Functions of one environment share a pool of warm children, as many as calls run at once; an instance has a child of its
own. The supervisor belongs to one thread and holds nothing of an event loop between calls.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from flashtrial.process.call_spec import CallSpec
from flashtrial.process.child import NO_LIMITS, CallLimits, Child
from flashtrial.process.environment import Environment
from flashtrial.process.launch import Launcher
from flashtrial.process.outcome import Died, Outcome
from flashtrial.process.sink import Sink

IDLE_CHILDREN_KEPT: Final = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Living:
    """The environment of a child that has not been ended, and who wants to know when it is."""

    key: str
    on_end: Callable[[], None] | None


class Supervisor:
    """Owns the children; `close` ends them all."""

    def __init__(self, launcher: Launcher, idle_kept: int = IDLE_CHILDREN_KEPT) -> None:
        self._launcher = launcher
        self._idle_kept = idle_kept
        self._idle: defaultdict[str, list[Child]] = defaultdict(list)
        self._living: dict[Child, _Living] = {}

    async def run_function(
        self,
        environment: Environment,
        spec: CallSpec,
        sink: Sink,
        limits: CallLimits = NO_LIMITS,
        *,
        spoils: Callable[[Outcome], bool] | None = None,
    ) -> Outcome:
        """Run a function in a warm child of its environment, or in a new one when all are busy.

        The child serves on unless it died, is worn, or the outcome `spoils` it. One that was deaf, because an earlier
        call shut its socket or something killed it just now, costs this call nothing: another child gets it.
        """
        while True:
            child = await self.warm_child(environment)
            if child is None:
                break
            outcome = await self._run_in(child, environment, spec, sink, limits, spoils)
            if child.has_taken_call or not isinstance(outcome, Died):
                return outcome
        child = await self.new_child(environment, spec, holds_instance=False)
        return await self._run_in(child, environment, spec, sink, limits, spoils)

    async def _run_in(  # noqa: PLR0917 - as `run_function`
        self,
        child: Child,
        environment: Environment,
        spec: CallSpec,
        sink: Sink,
        limits: CallLimits,
        spoils: Callable[[Outcome], bool] | None,
    ) -> Outcome:
        """Run a function in `child`, and keep that or end it."""
        outcome: Outcome | None = None
        try:
            outcome = await child.call(spec, sink, limits)
            return outcome
        finally:
            is_spoiled = spoils is not None and outcome is not None and spoils(outcome)
            await self.give_back(environment, child, is_spoiled=is_spoiled)

    async def new_child(
        self,
        environment: Environment,
        spec: CallSpec,
        *,
        holds_instance: bool,
        variables: Mapping[str, str] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> Child:
        """A fresh child that is ready for `spec`; the caller ends it by `end`, or `close` does.

        `variables` are set in it before anything of the user's runs. `on_end` is called once, when it has been ended.
        """
        child = await self._launcher.launch(
            environment, spec.source, spec.local_names, holds_instance=holds_instance, variables=variables
        )
        self._living[child] = _Living(environment.key, on_end)
        return child

    async def end(self, child: Child) -> None:
        """End one child and forget it. Safe to call twice."""
        living = self._living.pop(child, None)
        child.close_late_output()
        try:
            await child.end()
        finally:
            if living is not None and living.on_end is not None:
                living.on_end()

    async def end_if_idle(self, environment: Environment, child: Child) -> bool:
        """End a function child of `environment` that waits for its next call; whether it did."""
        idle = self._idle[environment.key]
        if child not in idle:
            return False
        idle.remove(child)
        await asyncio.shield(self.end(child))
        return True

    def has_work_in(self, key: str) -> bool:
        """Whether a call or an instance lives in the environment of that key."""
        idle = self._idle.get(key, ())
        return any(living.key == key and child not in idle for child, living in self._living.items())

    async def retire(self, key: str) -> None:
        """End what waits for calls in the environment of that key, in which nobody works, and its template."""
        template = self._launcher.without_template(key)
        try:
            for child in self._idle.pop(key, []):
                await self.end(child)
        finally:
            if template is not None:
                template.close()

    async def close(self) -> None:
        """End every child and every template."""
        await asyncio.gather(*(self.end(child) for child in tuple(self._living)))
        self._idle.clear()
        self._launcher.close()

    async def warm_child(self, environment: Environment) -> Child | None:
        """An idle function child of `environment`, the caller's until `give_back`; None when there is none."""
        idle = self._idle[environment.key]
        while idle:
            child = idle.pop()
            if child.takes_calls:
                return child
            await self.end(child)  # it died while nobody looked
        return None

    async def give_back(self, environment: Environment, child: Child, *, is_spoiled: bool = False) -> None:
        """Keep a function child for its next call, or end it when it can or must take none."""
        idle = self._idle[environment.key]
        if not is_spoiled and child.is_idle and len(idle) < self._idle_kept:
            idle.append(child)
        else:
            await asyncio.shield(self.end(child))
