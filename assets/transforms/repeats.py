"""Repeats: users who take an item again, and how many targets are items of their own history."""

import numpy as np
import polars as pl

from assets.transforms.chunks import Table


def has_repeats(interactions: Table) -> bool:
    """Whether any user touched an item more than once. Holds eight bytes for each interaction.

    >>> has_repeats(pl.DataFrame({"user_id": [0, 0, 1], "item_id": [5, 6, 5]}))
    False
    """
    log = interactions.lazy().select(pl.col("user_id", "item_id").cast(pl.Int64)).collect(engine="streaming")
    keys = (log["user_id"].to_numpy() << 32) + log["item_id"].to_numpy()
    keys.sort()
    return bool((np.diff(keys) == 0).any())
