"""Numbers and names of the worker that an operator may want to know."""

from pathlib import Path
from typing import Final

NAMESPACE: Final = "flashtrial"
"""The root of this project's loggers, and (with a dot in front) its directory on a network volume."""

INSTALL_DEADLINE_S: Final = 1200.0
"""For one layer: a CUDA torch is 3 GB. ``FLASHTRIAL_INSTALL_DEADLINE_S`` sets another."""

SYSTEM_INSTALL_DEADLINE_S: Final = 300.0
"""For one run of the package manager. ``FLASHTRIAL_SYSTEM_INSTALL_DEADLINE_S`` sets another."""

LAYERS_BYTES: Final = 20 * 1024**3
"""Disk for all layers together; beyond it the least recently used go. ``FLASHTRIAL_LAYERS_BYTES`` sets another."""

VOLUME: Final = Path("/runpod-volume")
"""Where RunPod mounts an endpoint's network volume."""

LEASE_S: Final = 60.0
"""How long whoever writes to the volume may be silent before another takes over."""

CLOSE_DEADLINE_S: Final = 5.0
"""For publications under way when the worker ends."""

COMPILER_PACKAGES: Final = ("build-essential",)
"""What is installed when a package is built from source and there is no compiler."""

CHILD_MODULES: Final = frozenset({"cloudpickle", "ormsgpack"})
"""What a child itself stands on, imported before any layer: it runs with the worker's copies, whatever a layer has."""

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
