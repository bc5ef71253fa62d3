"""Duplicate-title probe: items that a model which reads titles cannot tell apart."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from evaluation.leakage.probe import LeakProbe, Numbers
from evaluation.leakage.sampling import Frame, collected

_EXAMPLES = 3


@dataclass(frozen=True)
class TitleLeakage(LeakProbe):
    """Titles that several items share, after case, accents of form and spaces are made equal."""

    items: int
    shared_titles: int
    """Titles that more than one item has."""
    ambiguous_items: int
    """Items with such a title."""
    ambiguous_interactions: float
    """Share of interactions with such an item."""
    ceiling: float
    """The largest hit ratio at 1 of a model that reads nothing but titles: among equal ones it guesses."""
    examples: tuple[str, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """See `LeakProbe`."""
        if not self.shared_titles:
            return ()
        return (
            f"{self.ambiguous_items:,} of {self.items:,} items share their title with another "
            f"({self.ambiguous_interactions:.1%} of interactions), such as {', '.join(self.examples)}: a model that "
            f"reads titles alone finds at most {self.ceiling:.2%} of targets first",
        )

    @property
    def all_clear(self) -> str:
        """See `LeakProbe`."""
        return "Every title stands for one item."

    @property
    def numbers(self) -> Numbers:
        """See `LeakProbe`."""
        return {
            "items": self.items,
            "shared_titles": self.shared_titles,
            "ambiguous_items": self.ambiguous_items,
            "ambiguous_interactions": self.ambiguous_interactions,
            "ceiling_of_hit_ratio_at_1": self.ceiling,
        }


def title_leakage(items: pl.DataFrame, interactions: Frame) -> TitleLeakage:
    """Probes for items with one title.

    Args:
        items: item_id, item, title.
        interactions: item_id; says how often each item is touched, and so how much a shared title matters.
    """
    counts = collected(interactions.lazy().group_by("item_id").agg(times=pl.len()))
    plain = pl.col("title").str.normalize("NFKC").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    titles = (
        items.select("item_id", "item", "title", plain=plain)
        .join(counts, on="item_id", how="left", maintain_order="left")
        .with_columns(pl.col("times").fill_null(0))
    )
    shared = (
        titles.group_by("plain")
        .agg(
            pl.col("title").sort_by("item_id").first(),
            pl.col("item").sort_by("item_id"),
            items=pl.len(),
            times=pl.col("times").sum(),
            most=pl.col("times").max(),
        )
        .filter(pl.col("items") > 1)
        .sort("times", "plain", descending=[True, False])
    )
    every, ambiguous = int(titles["times"].sum()), int(shared["times"].sum())
    return TitleLeakage(
        items=items.height,
        shared_titles=shared.height,
        ambiguous_items=int(shared["items"].sum()),
        ambiguous_interactions=ambiguous / max(every, 1),
        # Of items with one title the best guess is the one most often touched.
        ceiling=1.0 - (ambiguous - int(shared["most"].sum())) / max(every, 1),
        examples=tuple(_shown(row) for row in shared.head(_EXAMPLES).iter_rows(named=True)),
    )


def _shown(row: dict[str, Any]) -> str:
    items: list[str] = row["item"]
    more = ", …" if len(items) > 4 else ""
    title = str(row["title"])
    short = title if len(title) <= 60 else f"{title[:59]}…"
    return f"{short!r} (items {', '.join(item[:40] for item in items[:4])}{more})"
