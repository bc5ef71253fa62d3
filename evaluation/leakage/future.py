"""Future probe: does a row show what came at or after its target, or train hold what came after the split?

It looks every item of a history up in the user's interactions, by place and by time, and knows nothing of how histories
are cut or splits assigned.
"""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from evaluation.leakage.probe import LeakProbe, Numbers
from evaluation.leakage.sampling import Frame, collected, sampled_by

_MOST = 100_000
"""Rows whose histories are looked up; of more, a sample of users. Times of splits are read of every interaction."""
_CHUNK = 20_000


@dataclass(frozen=True)
class FutureLeakage(LeakProbe):
    """Rows and interactions in the wrong order."""

    rows: int
    """Rows whose history was looked up."""
    late_rows: int
    """Rows that show an item which the user first touched at or after the target."""
    foreign_rows: int
    """Rows that show an item, or have a target, which the user never touched."""
    first_late: str
    """The first such row, in words."""
    train_at_or_after_split: int
    """Interactions of an earlier split at or after the start of a later one; judged where splits share one time."""
    interactions: int
    at_one_time: bool
    """Whether the split claims to be at one global time."""
    held_out_from: datetime | None
    """When the first held-out interaction happened."""
    sample: float
    """Share of users whose rows were looked up."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """See `LeakProbe`."""
        reasons: list[str] = []
        for count, what in (
            (self.late_rows, "show an item that the user first touched at or after the target"),
            (self.foreign_rows, "show an item or a target that the user never touched in interactions"),
        ):
            if count:
                reasons.append(f"{count:,} of {self.rows:,} rows {what}, first {self.first_late}")
        if self.at_one_time and self.train_at_or_after_split:
            reasons.append(
                f"{self.train_at_or_after_split:,} of {self.interactions:,} interactions lie at or after the time at "
                "which a later split begins, though the split claims to be at one time: train knows the future"
            )
        return tuple(reasons)

    @property
    def all_clear(self) -> str:
        """See `LeakProbe`."""
        return "No history shows its target's future."

    @property
    def numbers(self) -> Numbers:
        """See `LeakProbe`."""
        return {
            "rows_read": self.rows,
            "users_read": self.sample,
            "late_rows": self.late_rows,
            "foreign_rows": self.foreign_rows,
            "earlier_split_at_or_after_later": self.train_at_or_after_split,
            "held_out_from": str(self.held_out_from),
            "split_at_one_time": str(self.at_one_time),
        }


def future_leakage(histories: Frame, interactions: Frame, *, at_one_time: bool) -> FutureLeakage:
    """Probes for the future in histories, and in train where the split is at one global time.

    An item counts from the user's first interaction with it, a target until the last one in the row's split: where
    items repeat, a row gets the benefit of the doubt.

    Args:
        histories: row_id, user_id, split, history, target.
        interactions: user_id, item_id, at (missing throughout where there is no time), split; each user's rows in
            chronological order.
        at_one_time: whether all of train should precede all of validation, and that all of test, for every user.
    """
    sampled, share = sampled_by(histories, "user_id", _MOST, stream="future probe")
    rows = collected(sampled.select("row_id", "user_id", "split", "history", "target"))
    users = rows["user_id"].unique()
    log = collected(
        interactions.lazy().select("user_id", "item_id", "at", "split").filter(pl.col("user_id").is_in(users.implode()))
    ).with_columns(place=pl.int_range(pl.len(), dtype=pl.Int32).over("user_id"))
    items = log.group_by("user_id", "item_id").agg(first_place=pl.col("place").min(), first_at=pl.col("at").min())
    targets = log.group_by("user_id", "item_id", "split").agg(
        last_place=pl.col("place").max(), last_at=pl.col("at").max()
    )
    found = [_judged(chunk, items, targets) for chunk in rows.iter_slices(_CHUNK)]
    judged = (
        pl.concat(found) if found else pl.DataFrame(schema={"row_id": pl.Int32, "is_late": bool, "is_foreign": bool})
    )
    wrong = judged.filter(pl.col("is_late") | pl.col("is_foreign")).sort("row_id")
    starts, count, late = _split_times(interactions)
    return FutureLeakage(
        rows=rows.height,
        late_rows=int(judged["is_late"].sum()),
        foreign_rows=int(judged["is_foreign"].sum()),
        first_late=f"row_id {wrong['row_id'][0]}" if wrong.height else "none",
        train_at_or_after_split=late,
        interactions=count,
        at_one_time=at_one_time,
        held_out_from=starts,
        sample=share,
    )


def _judged(rows: pl.DataFrame, items: pl.DataFrame, targets: pl.DataFrame) -> pl.DataFrame:
    """row_id, is_late, is_foreign of each row."""
    last = rows.join(
        targets, left_on=["user_id", "target", "split"], right_on=["user_id", "item_id", "split"], how="left"
    )
    shown = (
        last.select("row_id", "user_id", "last_place", "last_at", item_id="history")
        .explode("item_id")
        .join(items, on=["user_id", "item_id"], how="left")
    )
    is_late = (pl.col("first_place") >= pl.col("last_place")) | (pl.col("first_at") > pl.col("last_at"))
    is_foreign = pl.col("first_place").is_null() | pl.col("last_place").is_null()
    return shown.group_by("row_id").agg(is_late=is_late.fill_null(False).any(), is_foreign=is_foreign.any())


def _split_times(interactions: Frame) -> tuple[datetime | None, int, int]:
    """When the first held-out interaction happened, all interactions, and those too late for their split."""
    log = interactions.lazy().select("split", "at")
    starts = collected(log.group_by("split").agg(start=pl.col("at").min(), count=pl.len()))
    start = dict(starts.select("split", "start").iter_rows())
    test, validation = start.get("test"), start.get("validation")
    held_out = min((t for t in (test, validation) if t is not None), default=None)
    late = pl.lit(False)
    if held_out is not None:
        late = late | ((pl.col("split") == "train") & (pl.col("at") >= held_out))
    if test is not None:
        late = late | ((pl.col("split") == "validation") & (pl.col("at") >= test))
    count = collected(log.select(late.fill_null(False).sum().alias("late")))
    return held_out, int(starts["count"].sum()), int(count.item())
