"""What can be read out of the user's source, and how failures are told."""

import pytest

from flashtrial.process.runtime.user_code import BadModules, CodeNotFound, LocalModules, described, imported_names, load


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import os.path
class Trial:
    def go(self):
        from sklearn import datasets
        import numpy as np
        from . import sibling
"""
    assert imported_names(source) == {"os.path", "sklearn", "sklearn.datasets", "numpy"}


def test_a_source_that_does_not_parse_imports_nothing() -> None:
    assert imported_names("def (:") == set()


def test_a_missing_name_is_told_with_the_names_that_are_there() -> None:
    with pytest.raises(CodeNotFound, match="no 'nope'; it defines other"):
        load("def other(): pass", "nope")


def test_a_failure_names_its_type_and_shows_the_users_line_and_none_of_ours() -> None:
    function = load("def f(x):\n    return 1 / x  # mine\n", "f")
    with pytest.raises(ZeroDivisionError) as caught:
        function(0)
    text = described(caught.value)
    assert text.startswith("ZeroDivisionError: division by zero")
    assert "return 1 / x  # mine" in text
    assert __file__ not in text


def test_an_exception_that_cannot_show_itself_is_still_described() -> None:
    class Hostile(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert "Hostile" in described(Hostile())


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil.py", "a/../../b.py", "data.txt", "not-a-name.py", ""])
def test_a_module_outside_its_directory_is_refused_by_name(name: str) -> None:
    with pytest.raises(BadModules, match="modules"):
        LocalModules({name: ""})
