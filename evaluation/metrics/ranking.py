"""Ranking metrics of each row, from the rank that a predictions table gives the row's one target.

A row is one held-out interaction: a history and its target. A protocol names what the target was ranked against:
`of_20` is a candidate set of 20, `full` the whole catalogue without the items of the row's history. A metric's name
carries its protocol (`ndcg_at_10_full`), so that numbers of different protocols never meet under one name.
Dimension key: r rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.ranks import hit_ratio_at_k, mrr, ndcg_at_k
from contracts.words import FULL, PROTOCOL
from evaluation.arrays import Floats
from evaluation.schemas import schema_of

Ranks = NDArray[np.int64]

PREDICTIONS_SCHEMA = schema_of("predictions")
METRICS_SCHEMA = schema_of("metrics")

Defect = Literal[
    "columns",
    "protocol",
    "duplicate_row",
    "unknown_row",
    "missing_row",
    "items",
    "scores",
    "unknown_item",
    "target_rank",
    "other_dataset",
    "history_item",
    "no_candidate",
    "file",
]


class InvalidPredictions(ValueError):
    """A predictions table that cannot be evaluated; `defect` names what is wrong, the message where."""

    def __init__(self, defect: Defect, message: str) -> None:
        super().__init__(message)
        self.defect: Defect = defect


def recall_at_k(rank: Ranks, k: int) -> Floats:
    """Share of the relevant items among the first k: with one target per row, the hit ratio. Shape [r] → [r]."""
    return hit_ratio_at_k(rank, k)


def precision_at_k(rank: Ranks, k: int) -> Floats:
    """Share of relevant items among the first k: with one target, the hit ratio over k. Shape [r] → [r].

    >>> precision_at_k(np.array([2, 6]), k=5).tolist()
    [0.2, 0.0]
    """
    return hit_ratio_at_k(rank, k) / k


def map_at_k(rank: Ranks, k: int) -> Floats:
    """Average precision within the first k: with one target 1 / rank, so its mean is also MRR@K. Shape [r] → [r].

    >>> map_at_k(np.array([2, 6]), k=5).tolist()
    [0.5, 0.0]
    """
    return np.where(rank <= k, 1.0 / rank, 0.0)


MeasureKind = Literal["hit_ratio", "recall", "precision", "ndcg", "map", "mrr"]

_AT_K: Mapping[MeasureKind, Callable[[Ranks, int], Floats]] = {
    "hit_ratio": hit_ratio_at_k,
    "recall": recall_at_k,
    "precision": precision_at_k,
    "ndcg": ndcg_at_k,
    "map": map_at_k,
}


@dataclass(frozen=True)
class Measure:
    """One function of the rank; with a protocol it is a metric."""

    kind: MeasureKind
    k: int | None = None
    """Cut-off; None for `mrr`, which has none."""

    def __post_init__(self) -> None:
        if (self.k is None) != (self.kind == "mrr") or (self.k is not None and self.k < 1):
            wanted = "absent" if self.kind == "mrr" else "1 or more"
            raise ValueError(f"k of {self.kind} must be {wanted}, got {self.k}.")

    def metric(self, protocol: str) -> str:
        """The metric's name.

        >>> Measure("hit_ratio", 1).metric("of_20"), Measure("mrr").metric("full")
        ('hit_ratio_at_1_of_20', 'mrr_full')
        """
        return f"{self.kind}_{protocol}" if self.k is None else f"{self.kind}_at_{self.k}_{protocol}"

    def values(self, rank: Ranks) -> Floats:
        """Its value on each row, shape [r] → [r]."""
        return mrr(rank) if self.k is None else _AT_K[self.kind](rank, self.k)


CANDIDATE_MEASURES = (Measure("hit_ratio", 1), Measure("mrr"))
FULL_MEASURES = (Measure("recall", 10), Measure("ndcg", 10))
"""The metrics table holds these, and a leaderboard compares them: few, as Holm's correction pays for each."""

CUT_OFFS = (1, 5, 10, 20)
_OF_CANDIDATES: tuple[MeasureKind, ...] = ("hit_ratio", "precision", "ndcg", "map")
_OF_CATALOGUE: tuple[MeasureKind, ...] = ("recall", "precision", "ndcg", "map")


def metrics_of(
    predictions: pl.DataFrame,
    rows: pl.DataFrame,
    *,
    n_items: int | None = None,
    protocols: Sequence[str] | None = None,
) -> pl.DataFrame:
    """The metrics table: one value per row, protocol and metric, sorted by them.

    Args:
        predictions: the table of `PREDICTIONS_SCHEMA`, in any row order.
        rows: row_id, user_id, split of every row that must have been predicted, and no other (no train rows). With a
            column `target`, lists are checked against it.
        n_items: size of the catalogue; with it, item ids and full ranks are checked against it.
        protocols: the protocols that must be there; those that occur, when None.

    Raises:
        InvalidPredictions: see `check_predictions`.
    """
    check_predictions(predictions, rows, n_items=n_items, protocols=protocols)
    ranked = predictions.select("row_id", "protocol", "target_rank").join(
        rows.select("row_id", "user_id", "split"), on="row_id", how="inner", maintain_order="left"
    )
    tables: list[pl.DataFrame] = []
    for (protocol,), of_protocol in ranked.partition_by("protocol", as_dict=True, maintain_order=True).items():
        rank = of_protocol["target_rank"].to_numpy().astype(np.int64)
        for measure in FULL_MEASURES if protocol == FULL else CANDIDATE_MEASURES:
            value = pl.Series("value", measure.values(rank))
            metric = pl.lit(measure.metric(str(protocol))).alias("metric")
            tables.append(of_protocol.select("row_id", "user_id", "split", "protocol", metric, value))
    if not tables:
        return pl.DataFrame(schema=METRICS_SCHEMA)
    return pl.concat(tables).cast(METRICS_SCHEMA).sort("row_id", "protocol", "metric")


def mean_metrics(predictions: pl.DataFrame) -> dict[str, float]:
    """Every measure at every cut-off, as a mean over the rows of each protocol; keys are names of metrics, sorted.

    All of them are functions of the stored ranks, so they are not worth rows of the metrics table. A cut-off that
    takes in a whole candidate set says nothing and is left out, as is the hit ratio of `full`, which is its recall.
    """
    means: dict[str, float] = {}
    for (name,), of_protocol in predictions.partition_by("protocol", as_dict=True).items():
        protocol = str(name)
        rank = of_protocol["target_rank"].to_numpy().astype(np.int64)
        rank.sort()  # fixes the order of summation, hence the last digit
        kinds = _OF_CATALOGUE if protocol == FULL else _OF_CANDIDATES
        longest = np.inf if protocol == FULL else int(protocol.removeprefix("of_"))
        measures = [Measure(kind, k) for kind in kinds for k in CUT_OFFS if k < longest]
        for measure in (*measures, Measure("mrr")):
            means[measure.metric(protocol)] = float(measure.values(rank).mean())
    return dict(sorted(means.items()))


def check_predictions(
    predictions: pl.DataFrame,
    rows: pl.DataFrame,
    *,
    n_items: int | None = None,
    protocols: Sequence[str] | None = None,
) -> None:
    """Refuses a predictions table whose metrics would be wrong without looking wrong.

    Each protocol must hold every row of `rows` exactly once; lists must be best first, finite, without repeated or
    unknown items; ranks must fit the protocol and, where `rows` has the targets, agree with the lists.

    Raises:
        InvalidPredictions: with the defect's name, how many rows have it and the first of them.
    """
    _check_columns(predictions)
    named = pl.col("protocol").str.contains(f"^(?:{PROTOCOL})$")
    refuse(predictions, ~named, "protocol", "protocol must be 'full' or 'of_<n>'")
    found = sorted(set(predictions["protocol"].to_list()))
    absent = sorted(set(protocols or ()) - set(found))
    if absent or not found:
        wanted = " and ".join(absent) or "at least one"
        raise InvalidPredictions(
            "protocol", f"predictions must hold protocol {wanted}, got {found}. Score the rows under every protocol."
        )
    _check_rows(predictions, rows, found)
    _check_lists(predictions, n_items)
    _check_ranks(predictions, n_items)
    if "target" in rows.columns:
        _check_targets(predictions, rows)


def _check_columns(predictions: pl.DataFrame) -> None:
    for column, dtype in PREDICTIONS_SCHEMA.items():
        got = predictions.schema.get(column)
        if got != dtype:
            raise InvalidPredictions(
                "columns", f"predictions column {column} must be {dtype}, got {got or 'no such column'}."
            )
        values = predictions[column]
        if isinstance(dtype, pl.List):
            values = pl.concat([values.is_null(), values.list.eval(pl.element().is_null()).list.any()])
            nulls = int(values.sum())
        else:
            nulls = values.null_count()
        if nulls:
            raise InvalidPredictions("columns", f"predictions column {column} must hold no nulls, got {nulls} rows.")


def _check_rows(predictions: pl.DataFrame, rows: pl.DataFrame, protocols: list[str]) -> None:
    if rows["row_id"].is_duplicated().any():
        raise ValueError("rows must hold each row_id once: it lists the rows to evaluate, not their predictions.")
    key = ["row_id", "protocol"]
    duplicated = pl.struct(key).is_duplicated()
    refuse(predictions, duplicated, "duplicate_row", "a row must be predicted once per protocol")
    known = pl.col("row_id").is_in(rows["row_id"].to_list())
    refuse(predictions, ~known, "unknown_row", "predictions must be of the rows to evaluate")
    wanted = rows.select("row_id").join(pl.DataFrame({"protocol": protocols}), how="cross")
    missing = wanted.join(predictions, on=key, how="anti")
    refuse(missing, pl.lit(True), "missing_row", "every row must be predicted under every protocol")


def _check_lists(predictions: pl.DataFrame, n_items: int | None) -> None:
    items, scores = pl.col("items"), pl.col("scores")
    length = items.list.len()
    uneven = (length == 0) | (length != scores.list.len())
    refuse(predictions, uneven, "items", "items and scores must be of one length, 1 or more")
    refuse(predictions, items.list.n_unique() != length, "items", "an item must occur once in a list")
    finite = scores.list.eval(pl.element().is_finite()).list.all()
    refuse(predictions, ~finite, "scores", "scores must be finite numbers")
    rising = scores.list.eval(pl.element().diff() > 0).list.any()
    refuse(predictions, rising, "scores", "a list must be best first")
    if n_items is not None:
        unknown = (items.list.min() < 0) | (items.list.max() >= n_items)
        refuse(predictions, unknown, "unknown_item", f"item ids must be 0 to {n_items - 1}")


def _check_ranks(predictions: pl.DataFrame, n_items: int | None) -> None:
    of_n = pl.col("protocol").str.extract(r"^of_(\d+)$", 1).cast(pl.Int64)
    longest = of_n if n_items is None else of_n.fill_null(n_items)  # null where nothing bounds a full rank
    rank = pl.col("target_rank")
    outside = (rank < 1) | (rank > longest).fill_null(False)
    refuse(predictions, outside, "target_rank", "target_rank must be 1 or more and within its protocol")
    too_long = (pl.col("items").list.len() > longest).fill_null(False)
    refuse(predictions, too_long, "items", "a list must be no longer than its protocol")


def _check_targets(predictions: pl.DataFrame, rows: pl.DataFrame) -> None:
    placed = predictions.join(rows.select("row_id", "target"), on="row_id", how="inner")
    items, rank, target = pl.col("items"), pl.col("target_rank"), pl.col("target")
    is_there = items.list.get(rank - 1, null_on_oob=True) == target
    agrees = pl.when(rank <= items.list.len()).then(is_there).otherwise(~items.list.contains(target))
    refuse(placed, ~agrees, "target_rank", "a list must hold its target at target_rank and nowhere else")


def refuse(predictions: pl.DataFrame, broken: pl.Expr, defect: Defect, rule: str) -> None:
    """Raises where any row is broken: with the defect's name, how many rows have it and the first of them by row_id.

    Args:
        predictions: row_id, protocol, and what `broken` reads.
        broken: whether a row is; null is no.
        defect: its name.
        rule: what every row must be.

    Raises:
        InvalidPredictions: a row is broken.
    """
    offending = predictions.filter(broken)
    if offending.is_empty():
        return
    first = offending.sort("row_id", "protocol").row(0, named=True)
    raise InvalidPredictions(
        defect,
        f"{rule}, got {offending.height} rows that break this, the first row_id {first['row_id']} under "
        f"{first['protocol']!r}. Predict these rows again.",
    )
