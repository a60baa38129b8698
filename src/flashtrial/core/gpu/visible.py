"""Which GPUs a worker may use: CUDA_VISIBLE_DEVICES, read as CUDA and PyTorch read it.

Source: "CUDA_VISIBLE_DEVICES" in NVIDIA's CUDA C++ Programming Guide, and `torch.cuda`, whose tests spell out the odd
cases: the first bad or ambiguous entry ends the list, a repeated one empties it, kinds of entries do not mix.
"""

import re
from collections.abc import Sequence
from typing import Final

from flashtrial.core.gpu.driver import UNKNOWN_BOARD, Gpu

VARIABLE: Final = "CUDA_VISIBLE_DEVICES"

_ENTRY: Final = re.compile(r"(?P<ordinal>[+-]?\d+)|(?P<kind>GPU-|MIG-)")


def visible_gpus(gpus: Sequence[Gpu], restriction: str | None) -> tuple[Gpu, ...]:
    """Those of `gpus` that `restriction`, the variable's value, leaves, in its order; all when it is None (unset).

    A ``MIG-…`` entry that is none of `gpus` is passed through under its own name: old drivers do not list slices. An
    ordinal that names a split board means its first slice, as it does for CUDA.
    """
    if restriction is None:
        return tuple(gpus)
    chosen: list[Gpu] = []
    entries = [entry.strip() for entry in restriction.split(",")]
    for entry in entries:
        if _kind(entry) != _kind(entries[0]):
            break
        found = _named(gpus, entry, len(gpus) + len(chosen))
        if found is None:
            break
        if any(found.uuid == other.uuid for other in chosen):
            return ()
        chosen.append(found)
    return tuple(chosen)


def visible_variable(gpu: Gpu | None) -> dict[str, str]:
    """What to set for a child that was given `gpu`; nothing for None, so that it sees what the worker sees."""
    return {VARIABLE: gpu.uuid} if gpu is not None else {}


def _kind(entry: str) -> str:
    match = _ENTRY.match(entry)
    return (match["kind"] or "ordinal") if match else "bad"


def _named(gpus: Sequence[Gpu], entry: str, next_index: int) -> Gpu | None:
    match _kind(entry):
        case "ordinal":
            return _on_board(gpus, entry)
        case "bad":
            return None
        case kind:
            found = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
            if kind == "MIG-" and not found:
                return Gpu(next_index, entry, "MIG device", UNKNOWN_BOARD)
            return found[0] if len(found) == 1 else None


def _on_board(gpus: Sequence[Gpu], entry: str) -> Gpu | None:
    match = _ENTRY.match(entry)
    ordinal = int(match["ordinal"]) if match else -1
    return next((gpu for gpu in gpus if gpu.board == ordinal >= 0), None)
