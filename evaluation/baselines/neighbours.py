# pyright: basic, reportMissingTypeStubs=false
# scipy, threadpoolctl and implicit leave their types untold.
"""Item-to-item baselines: what usually goes with the items of the history.

Dimension key: r rows, i items of the catalogue.
"""

from typing import Literal

import numpy as np
import polars as pl

from evaluation.baselines.matrices import Sparse, history_matrix, reproducible, train_matrix
from evaluation.baselines.ranked import ScoreRows, Scores

Similarity = Literal["cosine", "tfidf", "bm25"]


def fit_item_cooccurrence(interactions: pl.DataFrame, *, n_items: int, reach: int | None, decay: float) -> ScoreRows:
    """Scores an item by how often users took it after those of the history, in train.

    With reach 1 and decay 0 this is a Markov chain of first order, without smoothing: the simplest baseline that reads
    the order of a history, and a hard one to beat in session data (Ludewig and Jannach, UMUAI 2018).

    Args:
        interactions: user_id, item_id, split; each user's in chronological order.
        n_items: size of the catalogue.
        reach: a pair counts when its second item came at most this many steps after its first; None: in any order,
            anywhere in the user's log.
        decay: weight of a history's last but one item against its last, and so on; 0: nothing but the last item.
    """
    counts = _counts(interactions, n_items, reach)

    def score(rows: pl.DataFrame) -> Scores:
        return (history_matrix(rows, n_items=n_items, decay=decay) @ counts).toarray()

    return score


def _counts(interactions: pl.DataFrame, n_items: int, reach: int | None) -> Sparse:
    """Users' pairs of items, shape [i i]: from the earlier to the later one. An item does not pair with itself."""
    from scipy.sparse import csr_matrix

    if reach is None:
        matrix, _ = train_matrix(interactions, n_items=n_items)
        counts = (matrix.T @ matrix).tocsr()
        counts.setdiag(0)
        counts.eliminate_zeros()
        return counts
    # Users may come in any order, but a user's interactions follow one another.
    train = interactions.filter(pl.col("split") == "train").sort("user_id", maintain_order=True)
    users, items = train["user_id"].to_numpy(), train["item_id"].to_numpy()
    first: list[np.ndarray] = []
    second: list[np.ndarray] = []
    for step in range(1, min(reach, max(users.size - 1, 0)) + 1):
        is_pair = (users[step:] == users[:-step]) & (items[step:] != items[:-step])
        if not is_pair.any():
            break
        first.append(items[:-step][is_pair])
        second.append(items[step:][is_pair])
    if not first:
        raise ValueError("co-occurrence needs a user with two train interactions, got none.")
    pairs = (np.concatenate(first), np.concatenate(second))
    return csr_matrix((np.ones(pairs[0].size, dtype=np.float32), pairs), shape=(n_items, n_items))


def fit_item_knn(
    interactions: pl.DataFrame, *, n_items: int, similarity: Similarity, neighbours: int, decay: float
) -> ScoreRows:
    """Items that the same users took in train: similarities to the history's, summed (Deshpande and Karypis, 2004).

    Args:
        interactions: user_id, item_id, split.
        n_items: size of the catalogue.
        similarity: of two items' columns of users; tfidf and bm25 first weigh the users down who took much.
        neighbours: kept for each item.
        decay: weight of a history's last but one item against its last; 1: all count alike.
    """
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

    matrix, _ = train_matrix(interactions, n_items=n_items)
    kinds = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
    # An item is its own nearest neighbour, and no use as one.
    model = kinds[similarity](K=neighbours + 1, num_threads=1)
    with reproducible():
        model.fit(matrix, show_progress=False)
    assert model.similarity is not None
    similarities = model.similarity.tocsr().astype(np.float32)
    similarities.setdiag(0)
    similarities.eliminate_zeros()
    similarities.sort_indices()

    def score(rows: pl.DataFrame) -> Scores:
        return (history_matrix(rows, n_items=n_items, decay=decay) @ similarities).toarray()

    return score
