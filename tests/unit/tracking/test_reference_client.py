"""The reference of the client is what the code is."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import flashtrial
from flashtrial.tracking.runs.run import Run
from flashtrial.tracking.settings.names import NEGATED, SETTINGS, Setting
from flashtrial.tracking.settings.resolution import Settings

pytestmark = pytest.mark.unit

REFERENCE = Path(__file__).parents[3] / "docs" / "reference-client.md"
CALL = re.compile(r"`(flashtrial|Run)\.(\w+)\(([^)]*)\)`")


def rows(heading: str) -> Iterator[str]:
    section = REFERENCE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return iter(lines[2:])


def row(setting: Setting) -> str:
    variables = ", ".join(f"`{name}`" for name in setting.variables) or "none"
    aliases = [*setting.aliases, *(name for name, of in NEGATED.items() if of == setting.name)]
    names = ", ".join(f"`{name}`" for name in aliases) or "none"
    cells = (f"`{setting.name}`", setting.help, setting.default, variables, names, setting.scope.value)
    return f"| {' | '.join(cells)} |"


def parameters(call: object) -> str:
    """As the reference writes them: ``*`` before those that are by name only, ``**more`` for the rest."""
    written: list[str] = []
    for name, parameter in inspect.signature(call).parameters.items():  # type: ignore[arg-type]
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in written:
            written.append("*")
        if name != "self":
            written.append(f"**{name}" if parameter.kind is parameter.VAR_KEYWORD else name)
    return ", ".join(written)


def test_every_setting_is_in_the_table_as_it_is() -> None:
    assert list(rows("Settings")) == [row(setting) for setting in SETTINGS]


def test_every_setting_can_be_said_by_an_object() -> None:
    assert {entry.name for entry in fields(Settings)} == {setting.name for setting in SETTINGS}


def test_every_call_takes_what_the_reference_says() -> None:
    calls = [call for line in rows("Calls") for call in CALL.findall(line)]
    owners = {"flashtrial": flashtrial, "Run": Run}
    assert len(calls) >= 15
    assert [(name, given) for _, name, given in calls] == [
        (name, parameters(getattr(owners[owner], name))) for owner, name, _ in calls
    ]
