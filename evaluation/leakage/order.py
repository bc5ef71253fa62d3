"""Order probe: is what passes for an order in time one over items, the same for every user?

Two ways to tell. Ids that rise from nearly every item to the next are a sort by id; dense ids are numbered in the order
of the publisher's ids, so this covers both. And where two items that several users have come in the same order for all
of them, pair after pair, the order is one over items, be it by a name or by an id that nobody published.
The same is asked of interactions that share their time, whose order only the publisher's file has.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evaluation.arrays import Floats
from evaluation.leakage.probe import ENOUGH, LeakProbe, Numbers
from evaluation.leakage.sampling import Frame, collected, sampled_by

ItemTimes = Floats
"""Mean and variance of the times of each item, shape [2 i]."""

_MOST = 500_000
"""Interactions that are read; of more, a sample of users."""
_WITHIN = 5
"""Places in a user's order that two items of a pair may be apart."""
_FEW_EXCEPTIONS = 0.1
"""The share of chance's falling neighbours that a sort by id may have."""
_FEW_BOTH_ORDERS = 0.05
"""The share of chance's pairs in both orders that one order over items may have."""
_HALF = 0.5
"""The share of chance's pairs in both orders below which an order gets a caution; honest logs have 0.57 to 0.97."""
_SOME_TIES = 0.05
"""Share of neighbours with one time below which their order does not matter."""
_SOME_SORTED_USERS = 0.05
_LONG = 8
"""Items that a user must have to be called sorted: chance sorts 1 in 20,160 of them."""


@dataclass(frozen=True)
class PairOrder:
    """A comparison of the ids of items that follow one another."""

    pairs: int
    """Neighbours of different items."""
    rising: float
    """Share of them whose ids rise; 1 where the order is a sort by id."""
    rising_chance: float
    """The same, if the first item were another user's of the same time; 0.5 where there is no time."""
    repeated_pairs: int
    """Pairs of items, at most five places apart, that occur more than once."""
    both_orders: float
    """Share of these that occur in both orders; 0 where the order is one over items."""
    both_orders_chance: float
    """The same, if each occurrence had a random order, drawn as the times of the two items among all users tell."""

    @property
    def sorted_by_id(self) -> str | None:
        """`rise` or `fall` where ids nearly always do; None where they do no such thing."""
        exceptions = {"rise": (1.0 - self.rising, 1.0 - self.rising_chance), "fall": (self.rising, self.rising_chance)}
        for direction, (seen, chance) in exceptions.items():
            if chance * self.pairs >= ENOUGH and seen < _FEW_EXCEPTIONS * chance:
                return direction
        return None

    @property
    def is_partly_one_over_items(self) -> bool:
        """Whether pairs of items occur in both orders less than half as often as chance would have it."""
        expected = self.both_orders_chance * self.repeated_pairs
        return expected >= ENOUGH and self.both_orders < _HALF * self.both_orders_chance

    @property
    def is_one_over_items(self) -> bool:
        """Whether pairs of items come in one order for everybody."""
        expected = self.both_orders_chance * self.repeated_pairs
        return expected >= ENOUGH and self.both_orders < _FEW_BOTH_ORDERS * self.both_orders_chance


@dataclass(frozen=True)
class OrderLeakage(LeakProbe):
    """The traces of an order over items in the order of each user's items."""

    every: PairOrder
    tied: PairOrder
    """Neighbours that share their user and time."""
    tied_share: float
    """Share of neighbours that share their time."""
    sorted_users: float
    """Share of users with 8 items or more whose ids only rise, or only fall."""
    sorted_users_chance: float
    long_users: int
    interactions: int
    """Interactions that were read."""
    sample: float
    """Share of users that were read."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """See `LeakProbe`."""
        reasons = [*self._reasons_of_all(), *self._reasons_of_ties()]
        return tuple(reasons)

    def _reasons_of_all(self) -> list[str]:
        every, reasons = self.every, list[str]()
        direction = every.sorted_by_id
        if direction:
            share = every.rising if direction == "rise" else 1.0 - every.rising
            reasons.append(
                f"item ids {direction} in {share:.1%} of neighbouring interactions (chance "
                f"{every.rising_chance if direction == 'rise' else 1.0 - every.rising_chance:.1%}): a user's order is "
                "a sort by item id, not one in time"
            )
        elif self.sorted_users > _SOME_SORTED_USERS + 2.0 * self.sorted_users_chance and (
            self.sorted_users * self.long_users >= ENOUGH and not self._ties_are_sorted
        ):
            reasons.append(
                f"of {self.long_users:,} users with {_LONG} items or more {self.sorted_users:.1%} have them sorted by "
                f"item id (chance {self.sorted_users_chance:.2%}): their order is not one in time"
            )
        if every.is_one_over_items:
            reasons.append(
                f"of {every.repeated_pairs:,} pairs of items that repeat {every.both_orders:.2%} occur in both orders "
                f"(chance {every.both_orders_chance:.1%}): every user's items are sorted by one order over all items, "
                "such as an id or a name, not by time"
            )
        return reasons

    def _reasons_of_ties(self) -> list[str]:
        if not self._ties_are_sorted or self._reasons_of_all_orders:
            return []
        tied = self.tied
        return [
            f"{self.tied_share:.1%} of neighbouring interactions share their time, and among these item ids "
            f"{tied.sorted_by_id or 'rise'} in {max(tied.rising, 1.0 - tied.rising):.1%} and "
            f"{tied.both_orders:.2%} of repeated pairs occur in both orders (chance {tied.both_orders_chance:.1%}): "
            "where time cannot tell, the file is sorted by item. Write cleaning.ties: hash"
        ]

    @property
    def _ties_are_sorted(self) -> bool:
        is_sorted = self.tied.sorted_by_id is not None or self.tied.is_one_over_items
        return is_sorted and self.tied_share >= _SOME_TIES

    @property
    def _reasons_of_all_orders(self) -> bool:
        return self.every.sorted_by_id is not None or self.every.is_one_over_items

    @property
    def caution(self) -> str:
        """A warning about an order that passes; empty where there is none."""
        every, tied = self.every, self.tied
        if self.tied_share < _SOME_TIES or tied.both_orders >= _HALF * tied.both_orders_chance:
            if not every.is_partly_one_over_items:
                return ""
            return (
                f" But of {every.repeated_pairs:,} pairs of items that repeat {every.both_orders:.1%} occur in both "
                f"orders (chance {every.both_orders_chance:.1%}; honest logs have more than half of it): the order is "
                "partly one over items, as in a log that is sorted by item inside each day or month."
            )
        return (
            f" But {self.tied_share:.1%} of neighbouring interactions share their time, and of their pairs that repeat "
            f"{tied.both_orders:.1%} occur in both orders (chance {tied.both_orders_chance:.1%}): where time cannot "
            "tell, the file's order is partly one over items; cleaning.ties: hash removes it."
        )

    @property
    def all_clear(self) -> str:
        """See `LeakProbe`."""
        return f"A user's order is not one over items.{self.caution}"

    @property
    def numbers(self) -> Numbers:
        """See `LeakProbe`."""
        every, tied = self.every, self.tied
        return {
            "neighbours": every.pairs,
            "ids_rise": every.rising,
            "ids_rise_chance": every.rising_chance,
            "repeated_pairs": every.repeated_pairs,
            "both_orders": every.both_orders,
            "both_orders_chance": every.both_orders_chance,
            "neighbours_with_one_time": self.tied_share,
            "ids_rise_within_one_time": tied.rising,
            "both_orders_within_one_time": tied.both_orders,
            "both_orders_within_one_time_chance": tied.both_orders_chance,
            "sorted_users": self.sorted_users,
            "sorted_users_chance": self.sorted_users_chance,
            "interactions_read": self.interactions,
            "users_read": self.sample,
        }


def order_leakage(interactions: Frame) -> OrderLeakage:
    """Probes the order of interactions: is it really one in time?

    Args:
        interactions: user_id, item_id, at (missing throughout where there is no time), each user's rows in the order
            to be probed.
    """
    sampled, share = sampled_by(interactions.lazy(), "user_id", _MOST, stream="order probe")
    log = collected(sampled.select("user_id", "item_id", "at"))
    pairs = pl.concat([_pairs(log, lag) for lag in range(1, _WITHIN + 1)])
    neighbours = pairs.filter(pl.col("lag") == 1)
    chance = _rising_chance(log)
    every = _pair_order(pairs, chance, _times_of_items(log))
    tied = _pair_order(pairs.filter("is_tied"), 0.5, None)
    of_users = neighbours.group_by("user_id").agg(n=pl.len() + 1, rising=pl.col("rises").sum()).sort("user_id")
    long = of_users.filter(pl.col("n") >= _LONG).with_columns(
        is_sorted=(pl.col("rising") == 0) | (pl.col("rising") == pl.col("n") - 1),
        chance=chance ** (pl.col("n") - 1) + (1.0 - chance) ** (pl.col("n") - 1),
    )
    return OrderLeakage(
        every=every,
        tied=tied,
        tied_share=_mean(neighbours["is_tied"]),
        sorted_users=_mean(long["is_sorted"]),
        sorted_users_chance=_mean(long["chance"]),
        long_users=long.height,
        interactions=log.height,
        sample=share,
    )


def _pairs(log: pl.DataFrame, lag: int) -> pl.DataFrame:
    """Each interaction with the user's `lag` places later, of another item."""
    later = log.shift(-lag)
    first, second = log["item_id"], later["item_id"]
    table = pl.DataFrame(
        {
            "user_id": log["user_id"],
            "first": first,
            "second": second,
            "is_tied": (log["at"] == later["at"]).fill_null(False),
            "is_pair": (log["user_id"] == later["user_id"]) & (first != second),
        }
    )
    return table.filter("is_pair").select(
        "user_id", "first", "second", "is_tied", lag=pl.lit(lag), rises=pl.col("first") < pl.col("second")
    )


def _pair_order(pairs: pl.DataFrame, rising_chance: float, times: ItemTimes | None) -> PairOrder:
    neighbours = pairs.filter(pl.col("lag") == 1)["rises"]
    # One whole number for each unordered pair: grouping by it is twice as fast as by two columns.
    low, high = pl.min_horizontal("first", "second"), pl.max_horizontal("first", "second")
    repeated = (
        pairs.group_by(pair=low.cast(pl.Int64) * 2**32 + high)
        .agg(times=pl.len(), rising=pl.col("rises").sum())
        .filter(pl.col("times") >= 2)
        .sort("pair")  # a mean of floats depends on their order in its last digits
    )
    both = (repeated["rising"] > 0) & (repeated["rising"] < repeated["times"])
    n = repeated["times"].to_numpy().astype(np.float64)
    low_first = _low_first(repeated["pair"].to_numpy(), times)
    by_chance = pl.Series(1.0 - low_first**n - (1.0 - low_first) ** n)
    return PairOrder(
        pairs=neighbours.len(),
        rising=_mean(neighbours) if neighbours.len() else 0.5,
        rising_chance=rising_chance,
        repeated_pairs=repeated.height,
        both_orders=_mean(both),
        both_orders_chance=_mean(by_chance),
    )


def _times_of_items(log: pl.DataFrame) -> ItemTimes | None:
    """Mean and variance, in seconds, of the times at which each item was touched, by item id; None without times."""
    if log["at"].null_count():
        return None
    seconds = (pl.col("at") - pl.col("at").min()).dt.total_seconds(fractional=True)
    of_items = (
        log.select("item_id", seconds=seconds)
        .group_by("item_id")
        .agg(mean=pl.col("seconds").mean(), variance=pl.col("seconds").var(ddof=0))
    )
    table = np.zeros((2, int(of_items["item_id"].to_numpy().max(initial=0)) + 1))
    table[:, of_items["item_id"].to_numpy()] = of_items["mean"].to_numpy(), of_items["variance"].to_numpy()
    return table


def _low_first(pair: NDArray[np.int64], times: ItemTimes | None) -> Floats:
    """The probability that the first item of each pair is touched before the second, judged by all users' times.

    An item that came out late comes second for everybody: time itself makes that order.
    """
    if times is None:
        return np.full(pair.shape, 0.5)
    low, high = pair >> 32, pair & (2**32 - 1)
    spread = np.sqrt(times[1, low] + times[1, high]) + 1.0
    z = np.clip((times[0, high] - times[0, low]) / spread, -20.0, 20.0)
    return 1.0 / (1.0 + np.exp(-1.702 * z))  # the normal distribution function, to within 0.01


def _rising_chance(log: pl.DataFrame) -> float:
    """Share of neighbours whose ids rise when the first is replaced by what somebody else touched last before it.

    Ids that are given in the order of release rise with time for everybody. A log with times is not at fault there, and
    this share says how much of it there is.
    """
    if log["at"].null_count():
        return 0.5
    by_time = log.with_row_index("place").sort("at", "user_id", maintain_order=True)
    before = by_time.shift(1)
    others = pl.DataFrame(
        {
            "place": by_time["place"],
            "other": pl.select(
                pl.when(before["user_id"] != by_time["user_id"]).then(before["item_id"]).otherwise(None)
            ).to_series(),
        }
    ).sort("place")["other"]
    later = log.shift(-1)
    is_pair = (log["user_id"] == later["user_id"]) & (log["item_id"] != later["item_id"]) & (others != later["item_id"])
    rises = (others < later["item_id"]).filter(is_pair.fill_null(False))
    return _mean(rises) if rises.len() >= ENOUGH else 0.5


def _mean(values: pl.Series) -> float:
    return float(values.cast(pl.Float64).mean() or 0.0) if values.len() else 0.0  # pyright: ignore[reportArgumentType]
