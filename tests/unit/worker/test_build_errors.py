"""A missing compiler is told from a compiler that refused the code."""

import pytest

from flashtrial.worker.install.build_errors import compiler_is_missing


@pytest.mark.parametrize(
    "said",
    [
        # setuptools under pip and uv
        "  building 'spam' extension\n  error: command 'gcc' failed: No such file or directory\n  [end of output]",
        "error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory",
        "error: command '/usr/bin/gcc-12' failed: No such file or directory",
        "error: command 'g++' failed: No such file or directory",
        "unable to execute 'x86_64-linux-gnu-gcc': No such file or directory",
        "FileNotFoundError: [Errno 2] No such file or directory: 'cc'",
        "FileNotFoundError: [Errno 2] No such file or directory: 'make'",
        "RuntimeError: Unsupported compiler -- at least C++11 support is needed!",
        # meson
        "../meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc'], ['clang'], ['nvc'], ['pgcc']]",
        "Running `gcc --version` gave \"[Errno 2] No such file or directory: 'gcc'\"",
        # cmake, scikit-build
        "CMake Error at CMakeLists.txt:3 (project):\n  No CMAKE_CXX_COMPILER could be found.",
        "CMake Error: CMAKE_C_COMPILER not set, after EnableLanguage",
        'CMake Error: CMake was unable to find a build program corresponding to "Unix Makefiles".',
        # autoconf
        "configure: error: no acceptable C compiler found in $PATH",
        "configure: error: C compiler cannot create executables",
        # cargo, maturin
        "error: linker `cc` not found\n  |\n  = note: No such file or directory (os error 2)",
        'error occurred in cc-rs: failed to find tool "c++": No such file or directory (os error 2)',
        # shells
        "/bin/sh: 1: gcc: not found",
        "sh: line 1: make: command not found",
        # half a compiler
        "gcc: fatal error: cannot execute 'cc1plus': execvp: No such file or directory",
        "gcc: fatal error: cannot execute \u2018cc1plus\u2019: execvp: No such file or directory",
        "spam.c:1:10: fatal error: stdio.h: No such file or directory",
        "/usr/bin/ld: cannot find crt1.o: No such file or directory",
    ],
)
def test_missing_compiler_is_recognised(said: str) -> None:
    assert compiler_is_missing(f"error: Failed to build `spam==1.0`\n{said}\nhint: see above")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "error: command '/usr/bin/gcc' failed with exit code 1",
        "spam.c:3:1: error: unknown type name 'spam'",
        "spam.c:1:10: fatal error: Python.h: No such file or directory",
        "spam.c:1:10: fatal error: cuda.h: No such file or directory",
        "error: can't find Rust compiler",
        "error: command 'cargo' failed: No such file or directory",
        "FileNotFoundError: [Errno 2] No such file or directory: 'nvcc'",
        "ERROR: Unknown compiler(s) for Fortran",
        "error: No solution found when resolving dependencies",
        "error: Failed to fetch: `https://example.org/gcc/`",
        "make: *** [all] Error 2",
        "Because gcc was not found in the package registry and you require gcc, we can conclude",
    ],
)
def test_other_failures_are_no_missing_compiler(said: str) -> None:
    assert not compiler_is_missing(said)
