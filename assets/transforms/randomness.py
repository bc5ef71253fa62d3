"""Random numbers that belong to a row: a hash of (seed, stream, row, draw), never a generator that walks over a table.

A row draws the same numbers whatever the order of rows, the partition it is in, or how many workers share the table.
The stream's name separates draws for different purposes, so that two uses of one seed are independent.
"""

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: the increment of splitmix64


def hashes(seed: int, stream: str, *keys: NDArray[np.integer] | int) -> Keys:
    """64 random bits for each combination of `keys`, which broadcast against each other like any numpy arrays.

    Each key is absorbed by one round of splitmix64 (Steele, Lea and Flood 2014, https://doi.org/10.1145/2714064.2660195).

    >>> rows, draws = np.arange(1000)[:, None], np.arange(2)
    >>> table = hashes(0, "doctest", rows, draws)
    >>> bool((table[[7]] == hashes(0, "doctest", rows[[7]], draws)).all())  # row 7 does not need the other rows
    True
    """
    digest = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
    state = np.asarray(np.uint64(int.from_bytes(digest, "little")))
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is the point; numpy warns about it for scalars only
        for key in keys:
            state = _mix((state ^ np.asarray(key).astype(np.uint64)) + _GOLDEN)
    return state


def uniforms(seed: int, stream: str, *keys: NDArray[np.integer] | int) -> NDArray[np.float64]:
    """A float in [0, 1) for each combination of `keys`, a multiple of 2^-53."""
    return (hashes(seed, stream, *keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(limit: NDArray[np.integer] | int, bits: Keys) -> NDArray[np.int64]:
    """An integer in [0, limit) from random bits; `limit` < 2^31, so that no value is favoured by more than 2^-22."""
    return ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53 * np.asarray(limit)).astype(np.int64)


def text_keys(texts: pl.Series) -> Keys:
    """64 bits that depend on each text alone, the same on every machine and in every version of every library."""
    distinct = texts.unique()
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in distinct]
    codes = pl.DataFrame({"text": distinct, "key": [int.from_bytes(digest, "little") for digest in digests]}).cast(
        {"key": pl.UInt64}
    )
    return texts.to_frame("text").join(codes, on="text", how="left", maintain_order="left")["key"].to_numpy()


def _mix(state: Keys) -> Keys:
    """The finaliser of splitmix64: every input bit reaches every output bit."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
