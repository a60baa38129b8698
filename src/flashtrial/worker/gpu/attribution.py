"""Whose are the bytes that a GPU holds: by pid where NVML knows our pids, by what the device gained where it does not.

In a container NVML may name the host's pids, or give 0 bytes for each (NVIDIA/nvidia-docker#1483,
NVIDIA/open-gpu-kernel-modules#614). A child that nobody has measured is alone in that, so what the device gained since
it came is taken for its own, and the rest of the gain belongs to the others in proportion to their claims: right in
sum, which is what admission asks for.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Party:
    """A child on the device. `claim_bytes` is None until measured; `used_before_bytes`: the device's, as it came."""

    instance_id: str
    claim_bytes: int | None
    used_before_bytes: int


def by_gain(used_bytes: int, base_bytes: int, parties: Sequence[Party]) -> dict[str, int]:
    """What each party holds of a device that holds `used_bytes`, and held `base_bytes` before any of them came."""
    held: dict[str, int] = {}
    unmeasured = [party for party in parties if party.claim_bytes is None]
    if len(unmeasured) == 1:
        held[unmeasured[0].instance_id] = max(0, used_bytes - unmeasured[0].used_before_bytes)
    claims = {party.instance_id: party.claim_bytes for party in parties if party.claim_bytes is not None}
    rest, claimed = max(0, used_bytes - base_bytes - sum(held.values())), sum(claims.values())
    for instance_id, claim in claims.items():
        held[instance_id] = min(claim, rest * claim // claimed) if claimed else 0
    return held


def by_pid(listed: Mapping[str, int], instance_ids: Collection[str]) -> dict[str, int]:
    """What NVML says each holds; nothing for one that it does not list, which has made no context yet."""
    return {instance_id: listed.get(instance_id, 0) for instance_id in instance_ids}
