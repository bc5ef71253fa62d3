"""The model that MLflow carries: histories of raw item ids in, the top K items out. Loaded as code, not unpickled.

Beside it travel the policy (safetensors), the catalogue (Parquet) and the package `training`, so that it answers in a
process that has never seen the project.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

DEFAULT_K = 10


class Recommender(PythonModel):
    """Ranks the whole catalogue after a history; items of the history are left out, unknown ones are passed over."""

    def load_context(self, context: Any) -> None:
        """Reads the policy and the catalogue, once."""
        from training.io.policy_folder import load_policy

        self.policy = load_policy(Path(context.artifacts["policy"]))
        catalogue = pq.read_table(context.artifacts["catalogue"]).sort_by("item_id").to_pydict()
        self.items: list[str] = catalogue["item"]
        self.titles: list[str] = catalogue["title"]
        self.item_ids = {item: item_id for item, item_id in zip(self.items, catalogue["item_id"], strict=True)}
        # A history without a known item says nothing about the user: the answer is what most users took.
        self.popularity = np.log1p(np.array(catalogue["n_train"], dtype=np.float32))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """For each row of `model_input` its best items.

        Args:
            context: of MLflow.
            model_input: a column `history`: lists of raw item ids, as text or numbers, oldest first. Unknown ids are
                passed over; an empty or missing history is that of a user of whom nothing is known.
            params: `k`, how many items to return; 10 when absent.

        Returns:
            A row for each row of the input, with its index: `items`, `titles` and `scores`, best first. Scores are
            log-probabilities in nats; after a history without a known item, the logarithm of 1 + the number of users
            who took the item.
        """
        k = int((params or {}).get("k", DEFAULT_K))
        if k < 0:
            raise ValueError(f"k must be 0 or more, got {k}. Say how many items to return.")
        from contracts.ranks import EXCLUDED, best_first, items_of, ranking_keys

        known = [self._known(history) for history in model_input["history"]]
        scores = self._scores(known)
        keys = ranking_keys(scores)
        rows = []
        for history, of_row, key in zip(known, scores, keys, strict=True):
            key[history] = EXCLUDED
            first = best_first(key[None], k)
            best = items_of(first[first != EXCLUDED])
            rows.append(
                {
                    "items": [self.items[item] for item in best],
                    "titles": [self.titles[item] for item in best],
                    "scores": [float(of_row[item]) for item in best],
                }
            )
        return pd.DataFrame(rows, columns=["items", "titles", "scores"], index=model_input.index)

    def _known(self, history: Any) -> list[int]:
        if not isinstance(history, list | tuple | np.ndarray):  # None, or NaN where pandas has none
            return []
        texts = (str(int(item)) if isinstance(item, float) and item.is_integer() else str(item) for item in history)
        return [self.item_ids[text] for text in texts if text in self.item_ids]

    def _scores(self, histories: list[list[int]]) -> np.ndarray:
        from training.engine.catalogue_scores import catalogue_scores
        from training.engine.windows import find_windows
        from training.io.ragged import Ragged
        from training.io.rows import Rows
        from training.representations.prompted_rows import fit_context

        scores = np.tile(self.popularity, (len(histories), 1))
        asked = [row for row, history in enumerate(histories) if history]
        if asked:
            index = np.arange(len(asked))
            rows = Rows(
                index, index, Ragged.of([histories[row] for row in asked]), np.zeros(len(asked), dtype=np.int32)
            )
            rows, _ = fit_context(rows, self.policy.vocabulary, self.policy.context)
            for block, logps in catalogue_scores(self.policy, find_windows(rows)):
                scores[np.array(asked)[block]] = logps.numpy()
        return scores


set_model(Recommender())
