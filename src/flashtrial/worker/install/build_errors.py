"""Did a package fail to build because this machine has no compiler? Told by what build tools say. Pure."""

import re

_TOOL = r"(?:[\w./-]*-)?(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+|make|ld|ar|as)(?:-\d+)?"
_SIGNS = (
    # setuptools, distutils
    rf"error: command '(?:/[\w./-]*/)?{_TOOL}' failed: No such file or directory",
    rf"unable to execute '{_TOOL}': No such file or directory",
    rf"\[Errno 2\] No such file or directory: '{_TOOL}'",
    r"Unsupported compiler -- at least C\+\+\d+ support is needed",
    # meson
    r"ERROR: Unknown compiler\(s\): \[",
    # cmake, scikit-build
    r"No CMAKE_(?:C|CXX)_COMPILER could be found",
    r"CMAKE_(?:C|CXX)_COMPILER not set, after EnableLanguage",
    r"unable to find a build program corresponding to",
    # autoconf
    r"no acceptable C compiler found in \$PATH",
    r"C\+\+ compiler cannot create executables|C compiler cannot create executables",
    # cargo, cc-rs
    r"error: linker `[\w+.-]+` not found",
    rf"failed to find tool \"{_TOOL}\"",
    # shells
    rf"(?:^|: |\s){_TOOL}: (?:command )?not found",
    # a compiler without its other half or the C library
    r"cannot execute \W?cc1(?:plus)?\b",
    r"fatal error: (?:stdio|stdlib|string|limits|math|errno|assert)\.h: No such file",
    r"ld: cannot find (?:crt[1in]\.o|-lc\b|-lm\b|-lstdc\+\+)",
)
_MISSING = re.compile("|".join(f"(?:{sign})" for sign in _SIGNS), re.MULTILINE)


def compiler_is_missing(said: str) -> bool:
    """Whether `said`, the output of an installer, tells of a C or C++ compiler, linker or make that is not there.

    Not of one that is there and refused the code, nor of other tools (Rust, Fortran, CUDA), which
    ``build-essential`` would not bring.
    """
    return _MISSING.search(said) is not None
