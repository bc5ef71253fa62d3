"""Rows with all that their prompts need: read, with the candidates that prompts list, cut to what a context holds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from training.io.readers import read_rows
from training.io.rows import Rows, sampled_rows
from training.representations import Representation
from training.representations.candidate_prompts import with_drawn, with_given


def train_rows(
    histories: Path,
    interactions: Path | None,
    vocabulary: Representation,
    context: int,
    progress: Callable[[str, int, int], None],
) -> tuple[Rows, int]:
    """The train rows, and how many of them the context cuts.

    Args:
        histories: the table.
        interactions: the table, from which candidates are drawn where prompts list them; else it may be absent.
        vocabulary: makes the prompts.
        context: tokens that a policy reads.
        progress: told of the lists that are drawn.
    """
    rows = read_rows(histories, "train", vocabulary.n_items)
    return fit_context(with_drawn(rows, vocabulary, interactions, progress), vocabulary, context)


def validation_rows(
    histories: Path, candidate_sets: Path | None, vocabulary: Representation, context: int, n: int | None
) -> tuple[Rows, int]:
    """At most n of the validation rows (all of them, if None), and how many of these the context cuts."""
    rows = with_given(read_rows(histories, "validation", vocabulary.n_items), vocabulary, candidate_sets)
    return fit_context(sampled_rows(rows, n), vocabulary, context)


def fit_context(rows: Rows, vocabulary: Representation, context: int) -> tuple[Rows, int]:
    """The rows with histories cut to what the context holds (the oldest items go), and how many rows that cut."""
    history = vocabulary.fit(rows.history, context, rows.candidates)
    n_cut = int((history.lengths < rows.history.lengths).sum())
    if n_cut == 0:
        return rows, 0
    return replace(rows, history=history), n_cut
