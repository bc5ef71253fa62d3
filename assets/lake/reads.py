"""What an asset may read: one value says what the graph shows and which versions the body is handed.

How a body is run is in `asset.py`; which policy an experiment starts from, in `assets/learning/start.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from assets.lake.versions import Partition

Wanted = tuple[str, Partition]
"""An asset, and the partition of it that is read."""
Find = Callable[[Partition, Any], Sequence[Wanted]]
"""The partition to be made, and what the asset's plan found → what is read for it."""


@dataclass(frozen=True)
class Read:
    """One parameter of a body: a version, or several, or None where nothing is wanted."""

    name: str
    """Of the parameter."""
    drawn: tuple[dg.AssetDep, ...]
    """The edges that Dagster draws."""
    find: Find
    undrawn: tuple[str, ...] = ()
    """Assets that are read too and make a circle, as the policy of round 1 and that of round 2 do: no graph of assets
    can hold such an edge. The manifest, the metadata and `borderline lineage` name the version."""
    is_many: bool = False
    """The parameter is a list of versions."""

    @property
    def assets(self) -> frozenset[str]:
        """Every asset that this may read."""
        return frozenset({*(dep.asset_key.to_user_string() for dep in self.drawn), *self.undrawn})


def _always(of: Any) -> bool:
    return True


def same_dataset(asset: str, *, when: Callable[[Any], bool] = _always) -> Read:
    """A table of the same data set; None where `when` says that what is made has no use for it."""
    return Read(asset, (dg.AssetDep(asset),), lambda of, plan: [(asset, of[:1])] if when(plan) else [])


def same_experiment(asset: str) -> Read:
    """A table or policy of the same experiment on the same data set."""
    return Read(asset, (dg.AssetDep(asset),), lambda of, plan: [(asset, of)])
