"""Which child runs which call: the placement policy, in one place.

Functions of one environment share a pool of warm children, as many as calls run at once; an instance has a child of its
own. The supervisor belongs to one thread and holds nothing of an event loop between calls.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from flashtrial.process.call_spec import CallSpec
from flashtrial.process.child import NO_LIMITS, CallLimits, Child
from flashtrial.process.environment import Environment
from flashtrial.process.launch import Launcher
from flashtrial.process.outcome import Outcome
from flashtrial.process.sink import Sink

IDLE_CHILDREN_KEPT: Final = 8

logger = logging.getLogger(__name__)


class Supervisor:
    """Owns the children; `close` ends them all."""

    def __init__(self, launcher: Launcher, idle_kept: int = IDLE_CHILDREN_KEPT) -> None:
        self._launcher = launcher
        self._idle_kept = idle_kept
        self._idle: defaultdict[str, list[Child]] = defaultdict(list)
        self._living: set[Child] = set()

    async def run_function(
        self, environment: Environment, spec: CallSpec, sink: Sink, limits: CallLimits = NO_LIMITS
    ) -> Outcome:
        """Run a function in a warm child of its environment, or in a new one when all are busy."""
        child = await self._warm(environment) or await self.new_child(environment, spec, holds_instance=False)
        try:
            return await child.call(spec, sink, limits)
        finally:
            await self._give_back(environment, child)

    async def new_child(
        self,
        environment: Environment,
        spec: CallSpec,
        *,
        holds_instance: bool,
        variables: Mapping[str, str] | None = None,
    ) -> Child:
        """A fresh child that is ready for `spec`; the caller ends it by `end`, or `close` does."""
        child = await self._launcher.launch(
            environment, spec.source, spec.local_names, holds_instance=holds_instance, variables=variables
        )
        self._living.add(child)
        return child

    async def end(self, child: Child) -> None:
        """End one child and forget it. Safe to call twice."""
        self._living.discard(child)
        child.close_late_output()
        await child.end()

    async def close(self) -> None:
        """End every child and every template."""
        await asyncio.gather(*(self.end(child) for child in tuple(self._living)))
        self._idle.clear()
        self._launcher.close()

    async def _warm(self, environment: Environment) -> Child | None:
        idle = self._idle[environment.key]
        while idle:
            child = idle.pop()
            if child.takes_calls:
                return child
            await self.end(child)  # it died while nobody looked
        return None

    async def _give_back(self, environment: Environment, child: Child) -> None:
        idle = self._idle[environment.key]
        if child.takes_calls and len(idle) < self._idle_kept:
            idle.append(child)
        else:
            await asyncio.shield(self.end(child))
