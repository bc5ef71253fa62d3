"""What a data set is: where its raw files come from, how they are cleaned, split and cut into histories.

One YAML in `datasets/` for each; the file name is its key, and its partition.
"""

from typing import Annotated, Literal

from pydantic import Field

from training.config import Frozen


class DemoSource(Frozen):
    """The built-in simulated shop; see `assets/sources/demo.py` for its mechanism."""

    kind: Literal["demo"]
    users: int = Field(8000, ge=50, le=1_000_000)
    items: int = Field(1200, ge=50, le=100_000)
    seed: int = Field(0, ge=0)


class FileSource(Frozen):
    """What every source that reads files has."""

    max_quarantined_share: float = Field(default=0.01, ge=0, le=1)
    """A file of which more rows than this share cannot be used is refused: it is not what its name says."""


class MovieLensSource(FileSource):
    """A MovieLens release, as its official zip or unpacked."""

    kind: Literal["movielens"]
    release: Literal["100k"]


Source = Annotated[DemoSource | MovieLensSource, Field(discriminator="kind")]


class Cleaning(Frozen):
    """How raw interactions become implicit feedback."""

    min_weight: float | None = None
    """Interactions with a smaller weight (rating, play count) are dropped; none, when absent."""
    repeats: Literal["first", "last", "all"] = "first"
    """Which of a user's several interactions with one item are kept."""
    ties: Literal["file_order", "hash"] = "file_order"
    """What orders a user's interactions of the same time (and position): file and line, or a hash of seed, user and
    item, for a log whose own row order means nothing."""
    k_core: int = Field(default=5, ge=1)
    """Every kept user and item has at least this many interactions, to a fixed point."""


class LeaveOneOut(Frozen):
    """A user's last interaction is test, the one before it validation, all earlier ones train."""

    kind: Literal["leave_one_out"] = "leave_one_out"


Split = Annotated[LeaveOneOut, Field(discriminator="kind")]


class Histories(Frozen):
    """How much of a user's past a row shows."""

    max_length: int = Field(default=50, ge=2)
    """Most items a history holds; the oldest are left out."""


class Candidates(Frozen):
    """The candidate sets of validation and test rows."""

    n: int = Field(default=20, ge=2)
    """Length of a candidate set: the target and n - 1 items that the user never touched."""


class DatasetConfig(Frozen):
    """The whole meaning of `datasets/<key>.yaml`."""

    source: Source
    cleaning: Cleaning = Cleaning()
    split: Split = LeaveOneOut()
    histories: Histories = Histories()
    candidates: Candidates = Candidates()
    seed: int = Field(0, ge=0, lt=2**31)
    """Seeds every draw that belongs to the data set: candidate sets, tie-breaking."""
