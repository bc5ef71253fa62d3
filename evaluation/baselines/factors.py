# pyright: basic, reportMissingTypeStubs=false
# scipy, threadpoolctl and implicit leave their types untold.
"""Matrix factorisation through the library implicit: a vector for each item, and one for each user or history.

Trained on one thread: both are then the same to the bit for the same seed, which BPR on several threads is not, as
its threads write into each other's factors. Dimension key: r rows, i items of the catalogue, d factors.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evaluation.baselines.matrices import history_matrix, reproducible, train_matrix
from evaluation.baselines.ranked import ScoreRows, Scores

OnIteration = Callable[[int], None]
"""Called with the number of iterations done."""


def _silent(done: int) -> None:
    pass


def fit_als(
    interactions: pl.DataFrame,
    *,
    n_items: int,
    factors: int,
    regularization: float,
    alpha: float,
    iterations: int,
    seed: int,
    on_iteration: OnIteration = _silent,
) -> ScoreRows:
    """Alternating least squares on implicit feedback (Hu, Koren and Volinsky, ICDM 2008).

    Item vectors come from train. A row's own vector is folded in from its history, as the paper's equation 4 does with
    the item vectors held fixed: it knows what the user took since train, and a user who is not in train has one too.

    Args:
        interactions: user_id, item_id, split.
        n_items: size of the catalogue.
        factors: d.
        regularization: lambda.
        alpha: how much more an item that was taken weighs than one that was not.
        iterations: alternations.
        seed: of the first vectors.
        on_iteration: for progress.
    """
    from implicit.cpu.als import AlternatingLeastSquares

    matrix, _ = train_matrix(interactions, n_items=n_items)
    settings = {"factors": factors, "regularization": regularization, "alpha": alpha, "iterations": iterations}
    with reproducible():
        model: Any = AlternatingLeastSquares(**settings, num_threads=1, random_state=seed)
        model.fit(matrix, show_progress=False, callback=lambda done, seconds, loss: on_iteration(done + 1))

    def score(rows: pl.DataFrame) -> Scores:
        histories = history_matrix(rows, n_items=n_items, decay=1.0)
        histories.data[:] = 1.0  # taken or not, however often
        with reproducible():
            vectors = model.recalculate_user(np.arange(rows.height), histories)
            return _products(vectors, model.item_factors)

    return score


def fit_bpr(
    interactions: pl.DataFrame,
    *,
    n_items: int,
    factors: int,
    learning_rate: float,
    regularization: float,
    iterations: int,
    seed: int,
    on_iteration: OnIteration = _silent,
) -> ScoreRows:
    """Bayesian personalised ranking of pairs of items (Rendle et al., UAI 2009), by stochastic gradient steps.

    A user's vector comes from train and cannot be folded in; a user who is not in train is given the items' biases, the
    same for all such users.

    Args:
        interactions: user_id, item_id, split.
        n_items: size of the catalogue.
        factors: d, without the item's bias.
        learning_rate: of a step.
        regularization: lambda.
        iterations: as many steps as there are train interactions, each.
        seed: of the first vectors and of the pairs.
        on_iteration: for progress.
    """
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    matrix, user_ids = train_matrix(interactions, n_items=n_items)
    settings = {"learning_rate": learning_rate, "regularization": regularization, "iterations": iterations}
    with reproducible():
        model: Any = BayesianPersonalizedRanking(factors=factors, **settings, num_threads=1, random_state=seed)
        model.fit(matrix, show_progress=False, callback=lambda done, *rest: on_iteration(done + 1))
    nobody = np.zeros((1, factors + 1), dtype=np.float32)
    nobody[0, -1] = 1.0  # the place that meets the item's bias
    vectors = np.concatenate([model.user_factors, nobody])

    def score(rows: pl.DataFrame) -> Scores:
        users = rows["user_id"].to_numpy()
        place = np.searchsorted(user_ids, users)
        is_known = user_ids[np.minimum(place, user_ids.size - 1)] == users
        return _products(vectors[np.where(is_known, place, user_ids.size)], model.item_factors)

    return score


def _products(rows: NDArray[np.float32], items: NDArray[np.float32]) -> Scores:
    """Scores [r i] whose last bit does not depend on how many rows are scored at once, as that of float32 ones does."""
    return (rows.astype(np.float64) @ items.astype(np.float64).T).astype(np.float32)
