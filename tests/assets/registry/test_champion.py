import polars as pl

from assets.registry.champion import translated


def test_rows_are_told_in_the_ids_of_the_champions_catalogue() -> None:
    items = pl.DataFrame(
        {"item_id": [0, 1, 2, 3], "item": ["a", "b", "new", "c"]}, schema_overrides={"item_id": pl.Int32}
    )
    theirs = pl.DataFrame({"item_id": [2, 1, 0], "item": ["a", "b", "c"]}, schema_overrides={"item_id": pl.Int32})
    rows = pl.DataFrame(
        {
            "row_id": [7, 5, 9, 8],
            "user_id": [0, 1, 2, 3],
            "split": "validation",
            "history": [[0, 2, 1], [3], [2], [0, 0, 3]],
            "target": [3, 2, 0, 1],
        },
        schema_overrides={"row_id": pl.Int32, "user_id": pl.Int32, "history": pl.List(pl.Int32), "target": pl.Int32},
    )
    known = translated(rows, items, theirs)
    assert known.columns == rows.columns
    assert known.schema == rows.schema
    assert known.select("row_id", "history", "target").rows() == [(7, [2, 1], 0), (8, [2, 2, 0], 1)]
