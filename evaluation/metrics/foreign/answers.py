"""ValidRatio: how often a generated answer names one item of its candidate set. Dimension key: r rows, n candidates.

An answer is free text only where a language model generated it; a ranking is valid by construction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evaluation.metrics.foreign.columns import given_column
from evaluation.metrics.ranking import Defect, InvalidPredictions

Rule = Literal["exact", "lenient"]
RULES: tuple[Rule, ...] = ("exact", "lenient")


@dataclass(frozen=True)
class Answers:
    """Whether the generated answer of each row is valid, and right; both arrays have shape [r]."""

    is_valid: NDArray[np.bool_]
    """It names exactly one candidate."""
    is_hit: NDArray[np.bool_]
    """And that is the target. An answer that is not valid never hits."""


def judge_answers(
    answers: Sequence[str], candidates: Sequence[Sequence[str]], targets: Sequence[str], *, rule: Rule = "exact"
) -> Answers:
    """Judges one answer for each row against the names (ids or titles) of its candidates.

    Args:
        answers: the generated text of each row.
        candidates: the names in each row's candidate set.
        targets: the name of each row's target, one of its candidates.
        rule: `exact`: the answer without surrounding white space equals one name. `lenient`: compatibility with
            published numbers, the rule of `evaluate_batch.py` of S-DPO (https://arxiv.org/abs/2406.09215) and its
            descendants: exactly one name occurs somewhere in the answer, and a hit is that the target's name occurs in
            a valid one. A title inside another title makes a right answer invalid there, and a long answer that
            mentions a title in passing valid: use it to compare with papers, not to decide.

    An answer that is the name of two candidates of its row names none of them: it is not valid.

    Raises:
        ValueError: uneven lengths, or a target that is not among its candidates.

    >>> judge_answers([" Heat\\n", "Heat or Alien"], [["Heat", "Alien"]] * 2, ["Heat"] * 2).is_hit.tolist()
    [True, False]
    """
    if not len(answers) == len(candidates) == len(targets) or not answers:
        raise ValueError(
            f"answers, candidates and targets must be of one length, 1 or more, got {len(answers)}, "
            f"{len(candidates)} and {len(targets)}."
        )
    valid: list[bool] = []
    hit: list[bool] = []
    for row, (answer, names, target) in enumerate(zip(answers, candidates, targets, strict=True)):
        if target not in names:
            raise ValueError(f"candidates must hold the target, got no target {target!r} among them in row {row}.")
        named = [name for name in names if _names(answer, name, rule)]
        valid.append(len(named) == 1)
        hit.append(named == [target])
    return Answers(np.array(valid), np.array(hit))


def _names(answer: str, name: str, rule: Rule) -> bool:
    return answer.strip() == name.strip() if rule == "exact" else name in answer


def answer_metrics(
    answers: pl.DataFrame, held_out: pl.DataFrame, candidate_sets: pl.DataFrame, names: list[str], *, split: str
) -> pl.DataFrame:
    """ValidRatio and HitRatio@1 of generated answers, row by row, under both rules: a table like `metrics`.

    Args:
        answers: row_id, answer; a missing answer names nothing. Rows of the other split are passed over.
        held_out: row_id, user_id, split, target of every validation and test row.
        candidate_sets: row_id, candidates.
        names: of each item, by item id.
        split: validation or test: the rows that must have been answered, each once.

    Returns:
        row_id, user_id, split, metric, value; metrics are named `valid_ratio_of_n` and `hit_ratio_at_1_of_n`, with
        `lenient_` before those of the published rule.

    Raises:
        InvalidPredictions: a row is missing, repeated or of another data set, a column holds something else, there are
            no such rows, or candidate sets are of several sizes.
    """
    rows = held_out.filter(pl.col("split") == split)
    if rows.is_empty():
        raise InvalidPredictions("missing_row", f"the data set has no {split} rows to evaluate. Name the other split.")
    given = pl.DataFrame(
        [given_column(answers["row_id"], pl.Int32()), given_column(answers["answer"], pl.String()).fill_null("")]
    )
    if given["row_id"].null_count():
        raise InvalidPredictions(
            "columns", f"row_id must be of a row in histories, got {given['row_id'].null_count()} rows without one."
        )
    _refuse("unknown_row", given.join(held_out, on="row_id", how="anti"), "row_id must be of a validation or test row")
    given = given.join(rows, on="row_id", how="semi", maintain_order="left")
    _refuse("duplicate_row", given.filter(given["row_id"].is_duplicated()), "each row must be answered once")
    _refuse("missing_row", rows.join(given, on="row_id", how="anti"), "every row of the split must be answered")
    table = rows.join(given, on="row_id").join(candidate_sets, on="row_id").sort("row_id")
    sizes = table["candidates"].list.len().unique().sort().to_list()
    if len(sizes) != 1:
        raise InvalidPredictions(
            "protocol", f"candidate sets must be of one size, got sizes {sizes}. Build them again."
        )
    candidates: list[list[str]] = [[names[item] for item in items] for items in table["candidates"].to_list()]
    targets: list[str] = [names[item] for item in table["target"].to_list()]
    parts: list[pl.DataFrame] = []
    for rule in RULES:
        judged = judge_answers(table["answer"].to_list(), candidates, targets, rule=rule)
        prefix = "" if rule == "exact" else f"{rule}_"
        for name, values in (("valid_ratio", judged.is_valid), ("hit_ratio_at_1", judged.is_hit)):
            metric = pl.lit(f"{prefix}{name}_of_{sizes[0]}").alias("metric")
            value = pl.Series("value", values.astype(np.float64))
            parts.append(table.select("row_id", "user_id", "split", metric, value))
    return pl.concat(parts)


def _refuse(defect: Defect, offending: pl.DataFrame, rule: str) -> None:
    if offending.height:
        first = offending["row_id"].min()
        raise InvalidPredictions(
            defect, f"{rule}, got {offending.height} rows that break this, the first row_id {first}."
        )
