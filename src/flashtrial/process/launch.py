"""How a child comes to be: forked from its environment's template where that is safe, spawned where it is not."""

import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from flashtrial.process.channel import Channel, socket_pair
from flashtrial.process.child import Child
from flashtrial.process.environment import Environment
from flashtrial.process.interpreter import SpawnedProcess, start_python
from flashtrial.process.template import ForkRefused, Template, TemplateLost
from flashtrial.protocol.child import MAX_ANSWER_BYTES, Setup

SPAWN_DEADLINE_S: Final = 60.0
_HOST: Final = "from flashtrial.process.runtime.instance_host import main; main()"

logger = logging.getLogger(__name__)


class StartMethod(StrEnum):
    """`fork` means from a template; `spawn` a fresh interpreter for each child."""

    FORK = "fork"
    SPAWN = "spawn"


def default_start_method() -> StartMethod:
    """Templates need pidfds and descriptors that survive a fork: Linux. Elsewhere children are spawned."""
    return StartMethod.FORK if sys.platform == "linux" and hasattr(os, "pidfd_open") else StartMethod.SPAWN


class Launcher:
    """Makes children of any environment, each from a template of its environment where that is safe."""

    def __init__(self, variables: Mapping[str, str], start_method: StartMethod | None = None) -> None:
        self._variables = variables
        self._method = start_method or default_start_method()
        self._templates: dict[str, Template] = {}

    async def launch(
        self,
        environment: Environment,
        source: str,
        local_names: Sequence[str],
        *,
        holds_instance: bool,
        variables: Mapping[str, str] | None = None,
    ) -> Child:
        """A child that is ready for `source`, with `variables` over the environment that all children get.

        A template that fails is replaced by a spawned child, and said so.
        """
        own = variables or {}
        if self._method is StartMethod.FORK:
            template = self._template(environment)
            try:
                if forked := await template.child_for(source, local_names, own):
                    process, endpoint = forked
                    return Child(process, Channel(endpoint, MAX_ANSWER_BYTES), holds_instance=holds_instance)
            except TemplateLost as lost:
                logger.warning("%s; spawning instead", lost, extra={"action": "template_lost"})
            except ForkRefused as refused:
                logger.warning("no fork (%s); spawning instead", refused, extra={"action": "fork_refused"})
        spawned, endpoint = spawn(environment, self._variables, own)
        child = Child(spawned, Channel(endpoint, MAX_ANSWER_BYTES), holds_instance=holds_instance)
        await child.until_ready(SPAWN_DEADLINE_S)
        return child

    def _template(self, environment: Environment) -> Template:
        template = self._templates.get(environment.key)
        if template is None:
            template = self._templates[environment.key] = Template(environment, self._variables)
        if not template.is_running:
            template.start()
        return template

    def without_template(self, key: str) -> Template | None:
        """The template of that environment, the caller's to close; the next child of the environment gets another."""
        return self._templates.pop(key, None)

    def close(self) -> None:
        """End every template, and with them whatever they forked."""
        for template in self._templates.values():
            template.close()
        self._templates.clear()


def spawn(
    environment: Environment, variables: Mapping[str, str], own: Mapping[str, str]
) -> tuple[SpawnedProcess, socket.socket]:
    """A child from a fresh interpreter, with `own` over `variables`, and our end of its control socket."""
    ours, theirs = socket_pair()
    with theirs:
        popen = start_python(_HOST, theirs, variables)
    Channel(ours).send(Setup(environment.path_strings, dict(own)))
    return SpawnedProcess(popen), ours
