"""Random numbers that belong to a row: a hash of what is drawn for, never a generator that walks over a table.

A row draws the same numbers whatever the order of rows, the shard it is in, or how many workers share the table. The
name of a stream separates draws for different purposes, so that two uses of one seed are independent.

One mixer, the finaliser of splitmix64 (Steele, Lea and Flood 2014, https://doi.org/10.1145/2714064.2660195), is keyed
in three ways. Stored results follow from each of them: negatives and orders of training from `random_bits`, splits and
candidate sets from `hashes`, the random baseline from `cell_uniforms`. New code takes `random_bits`.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint64]
Integers = NDArray[np.integer]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: the increment of splitmix64


def random_bits(seed: int, stream: str, *counters: NDArray[np.integer]) -> Bits:
    """64 random bits for each combination of the counters, which broadcast against each other.

    >>> rows = np.array([3, 1])
    >>> bool((random_bits(0, "x", rows)[::-1] == random_bits(0, "x", rows[::-1])).all())
    True
    """
    bits = _start(f"{stream}:{seed}")
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is the point; numpy warns about it for scalars
        for counter in counters:
            bits = mixed(bits ^ mixed(counter.astype(np.uint64) + _GOLDEN))
    return bits


def hashes(seed: int, stream: str, *keys: Integers | int) -> Bits:
    """64 random bits for each combination of `keys`, which broadcast against each other.

    >>> rows, draws = np.arange(1000)[:, None], np.arange(2)
    >>> table = hashes(0, "doctest", rows, draws)
    >>> bool((table[[7]] == hashes(0, "doctest", rows[[7]], draws)).all())  # row 7 does not need the other rows
    True
    """
    bits = _start(f"{seed}/{stream}")
    with np.errstate(over="ignore"):
        for key in keys:
            bits = mixed((bits ^ np.asarray(key).astype(np.uint64)) + _GOLDEN)
    return bits


def uniforms(seed: int, stream: str, *keys: Integers | int) -> NDArray[np.float64]:
    """A float in [0, 1) for each combination of `keys`, a multiple of 2^-53."""
    return unit(hashes(seed, stream, *keys))


def cell_uniforms(seed: int, stream: str, row_id: Integers, draw: Integers) -> NDArray[np.float32]:
    """A float in [0, 1) for each row and draw, which broadcast against each other; a multiple of 2^-24."""
    row = mixed(row_id.astype(np.uint64) + _start(f"{seed}/{stream}"))
    cell = mixed(row ^ (draw.astype(np.uint64) * _GOLDEN))
    return (cell >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def unit(bits: Bits) -> NDArray[np.float64]:
    """The upper 53 bits as a float in [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(limit: Integers | int, bits: Bits) -> NDArray[np.int64]:
    """An integer in [0, limit) from random bits; `limit` < 2^31, so that no value is favoured by more than 2^-22."""
    return (unit(bits) * np.asarray(limit)).astype(np.int64)


def text_bits(text: str) -> int:
    """64 bits that depend only on the text, the same on every machine and in every version of every library."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mixed(bits: Bits) -> Bits:
    """The finaliser of splitmix64: every input bit reaches every output bit."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _start(name: str) -> Bits:
    return np.asarray(np.uint64(text_bits(name)))
