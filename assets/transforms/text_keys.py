"""Hashes of texts as columns; the random numbers themselves are in `contracts.draws`."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.draws import text_bits


def text_keys(texts: pl.Series) -> NDArray[np.uint64]:
    """64 bits that depend only on each text, in the order of `texts`."""
    distinct = texts.unique()
    codes = pl.DataFrame({"text": distinct, "key": pl.Series([text_bits(text) for text in distinct], dtype=pl.UInt64)})
    return texts.to_frame("text").join(codes, on="text", how="left", maintain_order="left")["key"].to_numpy()
