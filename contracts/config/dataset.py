"""A data set: its source, and how its raw interactions are cleaned, split and cut into histories.

Each data set is one YAML in `datasets/`; the file name is its key, and its partition. The sources have their own
module, `sources`.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from contracts.config.identity import Frozen
from contracts.config.sources import PlainName, PresplitSource, Source


class Cleaning(Frozen):
    """How raw interactions become implicit feedback; the rules are applied in this order."""

    events: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Types of event that are kept; others are dropped and counted by type. All are kept, when absent."""
    min_weight: float | None = Field(default=None, allow_inf_nan=False)
    """Interactions with a smaller weight (rating, play count) are dropped; none, when absent."""
    max_weight: float | None = Field(default=None, allow_inf_nan=False)
    """Interactions with a larger weight are dropped; none, when absent."""
    repeats: Literal["first", "last", "all", "sum"] = "first"
    """Which of a user's several interactions with one item are kept; `sum`: the first, with the weights of all."""
    ties: Literal["file_order", "newest_first", "hash"] = "file_order"
    """What orders a user's interactions of the same time (and position): file and line; the same with the lines of each
    file from its last to its first; or a hash of seed, user and item, for a log whose own row order means nothing."""
    k_core: int = Field(default=5, ge=1, strict=True)
    """Every kept user and item has at least this many interactions, to a fixed point."""

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        if self.min_weight is not None and self.max_weight is not None and self.min_weight > self.max_weight:
            raise ValueError(f"min_weight must be at most max_weight, got {self.min_weight} > {self.max_weight}.")
        return self


class LeaveOneOut(Frozen):
    """A user's last interaction is test, the one before it validation, all earlier ones train."""

    kind: Literal["leave_one_out"] = "leave_one_out"


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


Time = Annotated[datetime, AfterValidator(_in_utc)]
"""A date or a time, UTC unless it says otherwise."""
Share = Annotated[float, Field(gt=0, lt=1)]


class GlobalTimeSplit(Frozen):
    """Two moments cut the log of all users: train before the first, validation between, test from the second on.

    Given as two times, or as the shares of the interactions that validation and test should hold.
    """

    kind: Literal["global_time"]
    validation_from: Time | None = None
    """The first moment of validation; everything before it is train."""
    test_from: Time | None = None
    """The first moment of test."""
    validation_share: Share | None = None
    """Share of the interactions in validation, up to ties in time, which are never torn apart."""
    test_share: Share | None = None
    """Share of the interactions in test, up to ties in time."""

    @model_validator(mode="after")
    def _times_or_shares(self) -> Self:
        times, shares = (self.validation_from, self.test_from), (self.validation_share, self.test_share)
        given = [value is not None for value in (*times, *shares)]
        if given not in ([True, True, False, False], [False, False, True, True]):
            raise ValueError("must have either validation_from and test_from, or validation_share and test_share")
        first, second = times
        if first is not None and second is not None and first >= second:
            raise ValueError(f"validation_from must be before test_from, got {first} and {second}")
        if sum(share or 0 for share in shares) >= 1:
            raise ValueError(f"validation_share and test_share must leave something to train, got {shares}")
        return self


class UserSplit(Frozen):
    """Users are held out whole, by a hash of seed and raw id; a held-out user's last interaction is judged."""

    kind: Literal["user"]
    validation_share: Share = 0.1
    """Share of the users in validation, up to chance."""
    test_share: Share = 0.1
    """Share of the users in test, up to chance."""

    @model_validator(mode="after")
    def _somebody_trains(self) -> Self:
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                "validation_share and test_share must leave users to train, "
                f"got {self.validation_share} and {self.test_share}"
            )
        return self


class RandomHoldout(Frozen):
    """For a log without any order: one interaction of each user, by hash, is test, another one validation."""

    kind: Literal["random_holdout"]


class PublishedSplit(Frozen):
    """The publisher's own split, for a source of kind presplit; what breaks in it is for the leak probes to say."""

    kind: Literal["published"]
    train: Literal["windows", "rows"] = "windows"
    """windows: every train interaction but a user's first is a target, as for any log. rows: the publisher's rows."""


Split = Annotated[
    LeaveOneOut | GlobalTimeSplit | UserSplit | RandomHoldout | PublishedSplit, Field(discriminator="kind")
]


class Histories(Frozen):
    """How much of a user's past a row shows, and which train interactions are learned as targets."""

    kind: Literal["sliding", "one_per_user"] = "sliding"
    """sliding: every train interaction but a user's first is the target of a row. one_per_user: only a user's last one,
    so that active users do not outweigh others; far fewer rows. Validation and test rows are the same for both."""
    max_length: int = Field(default=50, ge=2)
    """Most items a history holds; the oldest are left out."""


class Candidates(Frozen):
    """The candidate sets of validation and test rows."""

    n: int = Field(default=20, ge=2)
    """Length of a candidate set: the target and n - 1 items that the user never touched."""
    draw: Literal["uniform", "popularity", "available", "published"] = "uniform"
    """uniform: each set of untouched items is equally likely. popularity: one after the other, in proportion to their
    train interactions. available: uniform among those that the log had shown by the time of the target. published: the
    lists that a benchmark publishes, as they are; any other draw gives the same rows fair lists."""


_UNTOUCHED = Cleaning(k_core=1, repeats="all")


class DatasetConfig(Frozen):
    """The whole meaning of `datasets/<key>.yaml`."""

    source: Source
    folder: PlainName | None = None
    """The folder of the raw files, inside BORDERLINE_RAW; the data set's key, when absent."""
    cleaning: Cleaning = Cleaning()
    split: Split = LeaveOneOut()
    histories: Histories = Histories()
    candidates: Candidates = Candidates()
    seed: int = Field(0, ge=0, lt=2**31)
    """Seeds every draw that belongs to the data set: candidate sets, tie-breaking."""

    @model_validator(mode="after")
    def _published_as_it_is(self) -> Self:
        if isinstance(self.split, PublishedSplit):
            if not isinstance(self.source, PresplitSource):
                raise ValueError(
                    f"split of kind published must be of a source of kind presplit, got {self.source.kind}"
                )
            changed = self.cleaning.model_dump(exclude={"ties"}) != _UNTOUCHED.model_dump(exclude={"ties"})
            if changed:
                raise ValueError(
                    "cleaning must leave a published split as it is. Write cleaning: {k_core: 1, repeats: all}"
                )
        elif self.candidates.draw == "published":
            raise ValueError("candidates.draw published must stand with a split of kind published")
        return self
