"""How long to wait before trying again."""

import random


def full_jitter_s(attempt: int, *, base_s: float = 0.2, cap_s: float = 30.0, rng: random.Random | None = None) -> float:
    """Seconds to wait before retry number `attempt` (0 for the first), uniform in [0, min(cap, base * 2**attempt)].

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (the variant called full jitter).
    """
    ceiling = min(cap_s, base_s * 2 ** min(attempt, 32))
    return (rng or random).uniform(0, ceiling)
