"""What has to be installed for a list of requirements over a base, decided before anything runs. Pure."""

import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from flashtrial.worker.install.base_packages import InstalledPackage, fingerprint
from flashtrial.worker.install.requirements import missing, normalised

# A layer never replaces these behind the user's back: they are large, and fit the machine's driver.
_PROTECTED = re.compile(r"torch|torchvision|torchaudio|triton|pytorch-triton.*|nvidia-.*|cuda-.*")
_PINNED = re.compile(r"[a-z0-9-]+==[\w.+!]+")


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """One layer to be: what is asked for, what of it the base lacks, and what of the base is to stay.

    `requirements` are all that were asked for, normalised and sorted, since the lacking ones must fit the rest.
    """

    key: str
    requirements: tuple[str, ...]
    missing: tuple[str, ...]
    base_pins: tuple[str, ...]
    protected_pins: tuple[str, ...]

    @property
    def pinned(self) -> tuple[str, ...]:
        """Those that are missing and can be met by one version only."""
        return tuple(one for one in self.missing if _PINNED.fullmatch(one))

    @property
    def names(self) -> str:
        """What is lacking, for messages."""
        return ", ".join(self.missing)


def plan_install(
    requirements: Sequence[Requirement], base: Mapping[str, InstalledPackage], sources: Sequence[str] = ()
) -> InstallPlan | None:
    """The plan that makes `requirements` importable over `base`; None when they are so already.

    `sources` tell where packages come from: another index may have other packages of the same name.
    """
    lacking = missing(requirements, base)
    if not lacking:
        return None
    lines = tuple(sorted({normalised(one) for one in requirements}))
    replaced = {canonicalize_name(one.name) for one in lacking}
    kept = {name: package for name, package in base.items() if name not in replaced}
    return InstallPlan(
        key=layer_key(lines, base, sources),
        requirements=lines,
        missing=tuple(normalised(one) for one in lacking),
        base_pins=_pins(kept.values()),
        # Another torch, asked for by name, brings its own CUDA.
        protected_pins=() if "torch" in replaced else _pins(kept[name] for name in kept if is_protected(name)),
    )


def layer_key(requirements: Sequence[str], base: Mapping[str, InstalledPackage], sources: Sequence[str] = ()) -> str:
    """16 hex digits: on any machine the same for the same normalised requirements, Python, platform, base, sources."""
    python = f"{sys.implementation.cache_tag} {sysconfig.get_platform()}"
    facts = "\n".join([python, fingerprint(base), *sources, *requirements])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def is_protected(name: str) -> bool:
    """Whether the distribution is of torch or CUDA; `name` is canonical."""
    return _PROTECTED.fullmatch(name) is not None


def _pins(packages: Iterable[InstalledPackage]) -> tuple[str, ...]:
    return tuple(sorted(f"{package.name}=={package.version}" for package in packages))
