"""Floors and baselines as predictions tables: what a policy has to beat before it is worth its cost."""

from evaluation.baselines.factors import fit_als, fit_bpr
from evaluation.baselines.floors import popularity_predictions, random_predictions, recent_popularity_predictions
from evaluation.baselines.lists import ListRule, list_floor_predictions
from evaluation.baselines.neighbours import Similarity, fit_item_cooccurrence, fit_item_knn
from evaluation.baselines.ranked import ScoreItems, ScoreRows, by_popularity, ranked_predictions, row_predictions
from evaluation.baselines.repeats import RepeatRule, fit_repeats

__all__ = [
    "ListRule",
    "RepeatRule",
    "ScoreItems",
    "ScoreRows",
    "Similarity",
    "by_popularity",
    "fit_als",
    "fit_bpr",
    "fit_item_cooccurrence",
    "fit_item_knn",
    "fit_repeats",
    "list_floor_predictions",
    "popularity_predictions",
    "random_predictions",
    "ranked_predictions",
    "recent_popularity_predictions",
    "row_predictions",
]
