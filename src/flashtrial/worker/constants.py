"""Numbers and names of the worker that an operator may want to know."""

from typing import Final

NAMESPACE: Final = "flashtrial"
"""The root of this project's loggers, and its directory on a network volume."""

INSTALL_DEADLINE_S: Final = 1200.0
"""For one layer: a CUDA torch is 3 GB."""

SYSTEM_INSTALL_DEADLINE_S: Final = 300.0
"""For one apt-get."""

LARGE_SYSTEM_PACKAGES: Final = frozenset(
    {
        "build-essential",
        "cmake",
        "cuda-toolkit",
        "default-jdk",
        "ffmpeg",
        "g++",
        "gcc",
        "gfortran",
        "git-lfs",
        "libopencv-dev",
        "llvm",
        "openjdk-17-jdk",
        "texlive",
    }
)
"""System packages whose download is worth fetching in parallel."""
