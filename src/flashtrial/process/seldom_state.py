"""What a function seldom changes in its process and what costs too much to compare after each call: the limits of
resources and the locale. Changes are noted by the functions that make them, and only then put back.

Not noticed: changes made in C, past Python's `resource` and `locale`. Runs inside children: standard library only.
"""

import functools
import locale
import resource
from types import ModuleType
from typing import Any, Final

_SETTERS: Final = (("setrlimit", "prlimit"), ("setlocale",))


class SeldomState:
    """What it was when the object was made, of which there is one in a process. One thread restores."""

    def __init__(self) -> None:
        self.is_touched = False
        self._locale = locale.setlocale(locale.LC_ALL)
        self._limits = _limits()
        for module, names in zip((resource, locale), _SETTERS, strict=True):
            for name in names:
                self._note(module, name)

    def restore(self) -> None:
        """Put back what was changed. Raises OSError for what cannot be put back, such as a hard limit."""
        self.is_touched = False
        if locale.setlocale(locale.LC_ALL) != self._locale:
            locale.setlocale(locale.LC_ALL, self._locale)
        try:
            for number, was in self._limits.items():
                if resource.getrlimit(number) != was:
                    resource.setrlimit(number, was)
        except ValueError as error:
            raise OSError(f"a limit of this process cannot be put back: {error}") from error
        self.is_touched = False  # restoring touched it again

    def _note(self, module: ModuleType, name: str) -> None:
        """Have the setter `name` of `module`, where it has one, say that it was called."""
        setter = getattr(module, name, None)
        if setter is None:
            return

        @functools.wraps(setter)
        def noted(*arguments: Any, **more: Any) -> Any:
            self.is_touched = True
            return setter(*arguments, **more)

        setattr(module, name, noted)


def _limits() -> dict[int, tuple[int, int]]:
    numbers = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {number: resource.getrlimit(number) for number in numbers}
