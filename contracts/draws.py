"""Randomness as a function of what is drawn for: whatever else is drawn, and in which order."""

import hashlib

import numpy as np
from jaxtyping import UInt64

Bits = UInt64[np.ndarray, " ..."]


def random_bits(seed: int, stream: str, *counters: np.ndarray) -> Bits:
    """64 random bits for each combination of the counters (broadcast against each other).

    A finaliser of splitmix64 (Steele, Lea and Flood 2014, doi 10.1145/2714064.2660195) over the counters, one by one;
    `stream` keeps draws for different purposes apart.

    >>> rows = np.array([3, 1])
    >>> bool((random_bits(0, "x", rows)[::-1] == random_bits(0, "x", rows[::-1])).all())
    True
    """
    key = hashlib.blake2b(f"{stream}:{seed}".encode(), digest_size=8).digest()
    bits = np.uint64(int.from_bytes(key, "little"))
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is the point
        for counter in counters:
            bits = _mixed(bits ^ _mixed(counter.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)))
    return np.asarray(bits)


def _mixed(bits: np.ndarray) -> np.ndarray:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
