"""Identities made where they are needed, without asking anybody, sortable by the time of their making."""

import os
import time

# Crockford's base 32 without vowels that make words; lower case, so that ids survive case-folding file systems.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_DIGITS = 9  # 45 bits of milliseconds: good until the year 3084
_RANDOM_DIGITS = 11  # 55 bits


def new_id(prefix: str) -> str:
    """A fresh id such as ``run_01jd3m4x2k7q…``: milliseconds first, then 55 random bits from the kernel.

    Safe after a fork: the random part is read from the kernel at each call, never from a seeded generator.
    """
    now_ms = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(7)) >> 1
    return f"{prefix}_{_digits(now_ms, _TIME_DIGITS)}{_digits(noise, _RANDOM_DIGITS)}"


def _digits(number: int, count: int) -> str:
    return "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(count)))
