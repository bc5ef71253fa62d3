from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.draws import cell_uniforms
from evaluation.baselines import popularity_predictions, random_predictions, ranked_predictions
from evaluation.metrics.ranking import PREDICTIONS_SCHEMA, check_predictions, metrics_of

HISTORIES = pl.DataFrame(
    {
        "row_id": [0, 1, 2],
        "user_id": [0, 0, 1],
        "split": ["train", "validation", "test"],
        "history": [[0], [0, 1], [2]],
        "target": [1, 2, 3],
    },
    schema={
        "row_id": pl.Int32,
        "user_id": pl.Int32,
        "split": pl.String,
        "history": pl.List(pl.Int32),
        "target": pl.Int32,
    },
)
CANDIDATE_SETS = pl.DataFrame(
    {"row_id": [1, 2], "candidates": [[3, 2, 4], [4, 3, 0]]},
    schema={"row_id": pl.Int32, "candidates": pl.List(pl.Int32)},
)
# Train counts: item 0 three times, items 1, 2 and 4 once, item 3 never; what is not train is not counted.
INTERACTIONS = pl.DataFrame({"item_id": [0, 0, 0, 1, 2, 4, 3, 3], "split": ["train"] * 6 + ["validation", "test"]})


def of(predictions: pl.DataFrame, row_id: int, protocol: str) -> dict[str, Any]:
    return predictions.filter((pl.col("row_id") == row_id) & (pl.col("protocol") == protocol)).row(0, named=True)


def test_popularity_counts_train_interactions_only_and_orders_equals_by_item_id() -> None:
    table = popularity_predictions(HISTORIES, CANDIDATE_SETS, INTERACTIONS, n_items=5)
    assert dict(table.schema) == dict(PREDICTIONS_SCHEMA)
    assert of(table, 1, "of_3") == {
        "row_id": 1,
        "protocol": "of_3",
        "items": [2, 4, 3],
        "scores": [1.0, 1.0, 0.0],
        "target_rank": 1,
    }
    assert of(table, 2, "of_3")["items"] == [0, 4, 3]


def test_a_full_list_leaves_out_the_history_and_keeps_the_target() -> None:
    table = popularity_predictions(HISTORIES, CANDIDATE_SETS, INTERACTIONS, n_items=5)
    assert of(table, 1, "full")["items"] == [2, 4, 3]
    assert of(table, 2, "full")["items"] == [0, 1, 4, 3]
    repeated = HISTORIES.with_columns(history=pl.Series([[0], [0, 1, 2], [2]], dtype=pl.List(pl.Int32)))
    again = popularity_predictions(repeated, CANDIDATE_SETS, INTERACTIONS, n_items=5)
    assert of(again, 1, "full")["items"] == [2, 4, 3], "a target that is also in the history is still ranked"


def test_the_rank_is_exact_where_the_list_is_cut() -> None:
    table = popularity_predictions(HISTORIES, CANDIDATE_SETS, INTERACTIONS, n_items=5, top_k=2)
    assert of(table, 2, "full")["items"] == [0, 1]
    assert of(table, 2, "full")["target_rank"] == 4


def test_train_rows_are_not_predicted() -> None:
    table = random_predictions(HISTORIES, CANDIDATE_SETS, n_items=5, seed=0)
    assert sorted(set(table["row_id"].to_list())) == [1, 2]


def test_negative_and_zero_scores_are_ordered_as_numbers() -> None:
    scores = np.array([-0.0, -2.5, 0.0, 1e-30, -1e-30], dtype=np.float32)
    table = ranked_predictions(lambda row, item: scores[item], HISTORIES, CANDIDATE_SETS, n_items=5)
    assert of(table, 1, "full")["items"] == [3, 2, 4]
    assert of(table, 2, "full")["items"] == [3, 0, 4, 1]
    assert of(table, 2, "full")["scores"] == [np.float32(1e-30), 0.0, np.float32(-1e-30), -2.5]


def test_a_scorer_that_returns_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="scores must be finite"):
        ranked_predictions(
            lambda row, item: np.full(item.shape, np.nan, np.float32), HISTORIES, CANDIDATE_SETS, n_items=5
        )


def test_chunks_do_not_change_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = random_predictions(HISTORIES, CANDIDATE_SETS, n_items=5, seed=3)
    monkeypatch.setattr("evaluation.baselines.ranked._CHUNK_CELLS", 1)
    assert random_predictions(HISTORIES, CANDIDATE_SETS, n_items=5, seed=3).equals(whole)


def test_row_order_does_not_change_a_number() -> None:
    whole = random_predictions(HISTORIES, CANDIDATE_SETS, n_items=5, seed=3)
    assert random_predictions(HISTORIES.reverse(), CANDIDATE_SETS.reverse(), n_items=5, seed=3).equals(whole)


def test_random_ranks_are_chance_and_both_protocols_share_the_scores() -> None:
    rows, n_items = 4000, 60
    generator = np.random.default_rng(0)
    order = np.argsort(generator.random((rows, n_items)), axis=1)
    histories = pl.DataFrame(
        {
            "row_id": np.arange(rows),
            "user_id": np.arange(rows),
            "split": "test",
            "history": order[:, 20:25].tolist(),
            "target": order[:, 0],
        },
        schema=HISTORIES.schema,
    )
    candidates = pl.DataFrame(
        {"row_id": np.arange(rows), "candidates": order[:, :20].tolist()}, schema=CANDIDATE_SETS.schema
    )
    table = random_predictions(histories, candidates, n_items=n_items, seed=0)
    check_predictions(table, histories, n_items=n_items, protocols=("of_20", "full"))
    means = metrics_of(table, histories).group_by("metric").agg(pl.col("value").mean())
    hits = dict(means.iter_rows())
    for name, chance in [("hit_ratio_at_1_of_20", 1 / 20), ("recall_at_10_full", 10 / (n_items - 5))]:
        assert abs(hits[name] - chance) < 4 * np.sqrt(chance * (1 - chance) / rows)
    first = of(table, 0, "of_20")
    shared = dict(zip(first["items"], first["scores"], strict=True))
    full = of(table, 0, "full")
    everywhere = dict(zip(full["items"], full["scores"], strict=True))
    both = shared.keys() & everywhere.keys()
    assert len(both) >= 10
    assert all(shared[item] == everywhere[item] for item in both)


def test_draws_are_uniform_and_differ_by_seed_stream_row_and_draw() -> None:
    row, draw = np.arange(200)[:, None], np.arange(500)[None, :]
    uniform = cell_uniforms(0, "test", row, draw)
    assert 0.0 <= uniform.min() < uniform.max() < 1.0
    assert uniform.mean() == pytest.approx(1 / 2, abs=4 * np.sqrt(1 / 12 / uniform.size))
    assert abs(np.corrcoef(uniform[:-1].ravel(), uniform[1:].ravel())[0, 1]) < 4 / np.sqrt(uniform.size)
    assert abs(np.corrcoef(uniform[:, :-1].ravel(), uniform[:, 1:].ravel())[0, 1]) < 4 / np.sqrt(uniform.size)
    for other in (cell_uniforms(1, "test", row, draw), cell_uniforms(0, "other", row, draw)):
        assert abs(np.corrcoef(uniform.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(uniform.size)


def with_candidates(candidates: list[list[int]]) -> pl.DataFrame:
    return pl.DataFrame({"row_id": [1, 2], "candidates": candidates}, schema=CANDIDATE_SETS.schema)


@pytest.mark.parametrize(
    ("candidate_sets", "said"),
    [
        (CANDIDATE_SETS[:1], "each of the 2 validation and test rows, got 1"),
        (pl.concat([CANDIDATE_SETS, CANDIDATE_SETS[:1]]), "got 3 rows, 3 of them theirs"),
        (CANDIDATE_SETS.with_columns(row_id=2 * pl.col("row_id")), "1 of them theirs"),
        (with_candidates([[2], [3, 4]]), "one length"),
        (
            CANDIDATE_SETS.with_columns(candidates=pl.Series([[2, 4], [0, 4]], dtype=pl.List(pl.Int32))),
            "0 times at row_id 2",
        ),
        (
            CANDIDATE_SETS.with_columns(candidates=pl.Series([[2, 2], [3, 4]], dtype=pl.List(pl.Int32))),
            "2 times at row_id 1",
        ),
        (
            CANDIDATE_SETS.with_columns(candidates=pl.Series([[2, 5], [3, 4]], dtype=pl.List(pl.Int32))),
            "below n_items 5",
        ),
    ],
)
def test_candidate_sets_that_do_not_fit_the_rows_are_refused(candidate_sets: pl.DataFrame, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        random_predictions(HISTORIES, candidate_sets, n_items=5, seed=0)


def test_nothing_to_predict_and_an_empty_list_are_refused() -> None:
    with pytest.raises(ValueError, match="histories must hold validation or test rows"):
        random_predictions(HISTORIES[:1], CANDIDATE_SETS, n_items=5, seed=0)
    with pytest.raises(ValueError, match="top_k must be 1 or more"):
        random_predictions(HISTORIES, CANDIDATE_SETS, n_items=5, seed=0, top_k=0)
