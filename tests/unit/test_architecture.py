"""Rules of the code base that no linter knows; the import rules are in .importlinter."""

import ast
from collections.abc import Iterator
from pathlib import Path

import flashtrial

PACKAGE = Path(flashtrial.__file__).parent
ENVIRONMENT_READERS = {
    "core/env.py": "the one reader",
    "process/runtime/instance_host.py": "sets and restores the environment of user code in its own child",
    "process/runtime/user_code.py": "the same",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def places(tree: ast.Module, name: str) -> list[int]:
    """Lines on which `tree` names `name`, a dotted name or a bare one, in code rather than in text."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, (ast.Attribute, ast.Name)) and ast.unparse(node) == name
    ] + [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and any(f"{node.module}.{alias.name}" == name for alias in node.names)
    ]


def test_only_core_env_reads_the_environment() -> None:
    readers = {
        f"{name}:{line}"
        for name, tree in modules()
        for read in ("os.environ", "os.getenv", "os.putenv", "os.environb")
        for line in places(tree, read)
        if name not in ENVIRONMENT_READERS
    }
    assert not readers, "ask flashtrial.core.env instead"


def test_library_code_never_prints() -> None:
    printing = {
        f"{name}:{line}" for name, tree in modules() if not name.startswith("cli/") for line in places(tree, "print")
    }
    assert not printing, "log, or give the text to the caller"


def test_every_module_says_what_it_owns() -> None:
    silent = [name for name, tree in modules() if tree.body and not ast.get_docstring(tree)]
    assert not silent


def test_a_reader_and_a_print_would_be_found() -> None:
    tree = ast.parse("import os\nfrom os import environ\nx = os.environ['A']\nprint(x)\n")
    assert places(tree, "os.environ") == [3, 2]
    assert places(tree, "print") == [4]
