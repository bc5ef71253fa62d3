import numpy as np
import polars as pl
import pytest

from evaluation.metrics.cold_start import cold_start_recall
from evaluation.metrics.groups import GROUPS_SCHEMA, group_metrics, row_groups
from evaluation.metrics.ranking import METRICS_SCHEMA

ROWS = pl.DataFrame(
    {
        "row_id": [0, 1, 2, 3],
        "user_id": [0, 0, 1, 2],
        "history": [[5] * 4, [5] * 5, [5] * 9, [5] * 25],
        "target": [0, 1, 2, 0],
    }
)
ITEM_COUNTS, USER_COUNTS = np.array([9, 10, 200]), np.array([60, 10, 9])
VALUES = [1.0, 0.0, 1.0, 0.0]


def metrics(values: list[float] = VALUES) -> pl.DataFrame:
    columns = {"row_id": [0, 1, 2, 3], "user_id": [0, 0, 1, 2], "value": values}
    constant = {"split": "test", "protocol": "full", "metric": "recall_at_10_full"}
    table = pl.DataFrame(columns).with_columns(pl.lit(text).alias(name) for name, text in constant.items())
    return table.select(METRICS_SCHEMA.names()).cast(METRICS_SCHEMA)


def test_every_bound_belongs_to_the_group_that_starts_with_it() -> None:
    groups = row_groups(ROWS, ITEM_COUNTS, USER_COUNTS)
    assert groups["activity"].to_list() == ["50+", "50+", "10-19", "00-09"]
    assert groups["history_length"].to_list() == ["00-04", "05-09", "05-09", "20+"]
    assert groups["target_popularity"].to_list() == ["000-009", "010-049", "200+", "000-009"]
    assert groups["user"].to_list() == ["warm", "warm", "warm", "cold"]
    assert groups["item"].to_list() == ["cold", "warm", "warm", "cold"]


def test_a_group_has_the_mean_of_its_rows_and_an_interval_over_its_users() -> None:
    table = group_metrics(metrics(), row_groups(ROWS, ITEM_COUNTS, USER_COUNTS))
    assert dict(table.schema) == dict(GROUPS_SCHEMA)
    warm = table.filter((pl.col("by") == "user") & (pl.col("group") == "warm")).row(0, named=True)
    assert (warm["rows"], warm["users"]) == (3, 2)
    assert warm["value"] == pytest.approx(2 / 3)
    residuals = np.array([1.0 - 2 * 2 / 3, 1.0 - 2 / 3])  # of user 0 with two rows, of user 1 with one
    error = np.sqrt((residuals**2).sum() * 2 / 1) / 3
    assert warm["high"] - warm["low"] == pytest.approx(2 * 1.959964 * error, rel=1e-5)
    alone = table.filter((pl.col("by") == "user") & (pl.col("group") == "cold")).row(0, named=True)
    assert (alone["low"], alone["high"]) == (None, None), "of one user nothing is known about users"


def test_parts_of_one_division_add_up_to_the_whole() -> None:
    table = group_metrics(metrics(), row_groups(ROWS, ITEM_COUNTS, USER_COUNTS))
    for (by,), part in table.partition_by("by", as_dict=True).items():
        assert part["rows"].sum() == 4, by
        assert (part["rows"] * part["value"]).sum() == pytest.approx(sum(VALUES)), by


def test_row_order_changes_nothing() -> None:
    groups = row_groups(ROWS, ITEM_COUNTS, USER_COUNTS)
    assert group_metrics(metrics().reverse(), groups.reverse()).equals(group_metrics(metrics(), groups))


def test_rows_without_a_group_are_refused() -> None:
    groups = row_groups(ROWS.head(3), ITEM_COUNTS, USER_COUNTS)
    with pytest.raises(ValueError, match="groups must hold every row, got 1 metrics of rows without"):
        group_metrics(metrics(), groups)


def test_cold_start_recall_counts_what_it_is_a_mean_of() -> None:
    found = cold_start_recall(metrics(), ROWS, ITEM_COUNTS, USER_COUNTS)
    assert found == {
        "cold_item_rows": 2.0,
        "cold_item_recall_at_10_full": 0.5,
        "cold_user_rows": 1.0,
        "cold_user_recall_at_10_full": 0.0,
    }
    assert cold_start_recall(metrics(), ROWS, ITEM_COUNTS + 10, USER_COUNTS + 10) == {
        "cold_item_rows": 0.0,
        "cold_user_rows": 0.0,
    }
