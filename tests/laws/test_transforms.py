"""Laws of the data side: what a row gets depends on the row, and on nothing that only happens to it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from assets.lake.validate import SchemaError, validate
from assets.transforms.cleaning.cores import k_core, largest_core
from assets.transforms.cleaning.interactions import Cleaned, clean_interactions
from assets.transforms.guarantees.candidates import candidates_are_untouched, one_target_per_candidate_set
from assets.transforms.guarantees.finding import interactions_are_chronological, require
from assets.transforms.guarantees.splits import split_is_leave_one_out
from assets.transforms.preferences import choose_negatives
from contracts.config import Negatives
from contracts.config.dataset import Candidates, Cleaning, Histories, LeaveOneOut
from contracts.tables import TABLES
from evaluation.schemas import empty, schema_of
from tests.assets.transforms.whole import (
    assign_split,
    build_histories,
    draw_candidates,
    histories_precede_targets,
    training_touches_no_held_out_item,
)

START = datetime(2024, 1, 1, tzinfo=UTC)
ITEMS = pl.DataFrame(
    {"item": [f"i{n}" for n in range(30)], "title": [f"Title {n}" for n in range(30)], "category": None, "text": None},
    schema=schema_of("raw_items"),
)


@st.composite
def raw_logs(draw: st.DrawFn) -> pl.DataFrame:
    """Logs with repeats, exact duplicates and many ties in time."""
    row = st.tuples(st.integers(0, 7), st.integers(0, 11), st.integers(0, 6), st.integers(1, 3))
    rows = draw(st.lists(row, min_size=16, max_size=120))  # of fewer, most logs have no 2-core
    return pl.DataFrame(
        [
            (f"u{user}", f"i{item}", START + timedelta(hours=hour), None, float(weight), None, "log", line)
            for line, (user, item, hour, weight) in enumerate(rows, start=1)
        ],
        schema=schema_of("raw_interactions"),
        orient="row",
    )


def cleaned(raw: pl.DataFrame, seed: int = 0, **rules: object) -> Cleaned:
    try:
        with TemporaryDirectory() as scratch:
            cleaning = Cleaning.model_validate({"k_core": 2} | rules)
            raw.write_parquet(Path(scratch, "raw.parquet"))
            found = clean_interactions(Path(scratch, "raw.parquet"), ITEMS, cleaning, seed, Path(scratch))
            return replace(found, interactions=found.interactions.collect().lazy())
    except ValueError as error:
        assume("0 users left" not in str(error))
        assume("oldest row to the newest" not in str(error))  # a drawn log may run backwards
        raise


def split_of(interactions: pl.LazyFrame) -> pl.DataFrame:
    try:
        return assign_split(interactions, LeaveOneOut())
    except ValueError as error:
        assume("validation 0, test 0" not in str(error))
        raise


def from_raw_to_candidates(
    raw: pl.DataFrame, seed: int, repeats: str, ties: str = "file_order"
) -> dict[str, pl.DataFrame]:
    clean = cleaned(raw, seed, repeats=repeats, ties=ties)
    interactions = split_of(clean.interactions)
    histories = build_histories(interactions, Histories(max_length=4))
    # The catalogue has more items than the core, so that nobody runs out of untouched ones.
    sets = draw_candidates(histories, interactions, 30, Candidates(n=6), seed)
    return {
        "interactions": interactions,
        "users": clean.users,
        "items": clean.items,
        "histories": histories,
        "candidate_sets": sets,
    }


@given(
    raw=raw_logs(),
    seed=st.integers(0, 3),
    repeats=st.sampled_from(["first", "last", "all", "sum"]),
    ties=st.sampled_from(["file_order", "hash"]),
    order=st.randoms(),
)
def test_the_order_of_the_raw_rows_changes_nothing(
    raw: pl.DataFrame, seed: int, repeats: str, ties: str, order: object
) -> None:
    shuffled = list(range(raw.height))
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    tables = from_raw_to_candidates(raw, seed, repeats, ties)
    others = from_raw_to_candidates(raw[shuffled], seed, repeats, ties)
    for name, table in tables.items():
        assert table.equals(others[name]), name


@given(raw=raw_logs(), seed=st.integers(0, 3), repeats=st.sampled_from(["first", "last", "all", "sum"]))
def test_every_table_keeps_its_contract_and_every_guarantee_holds(raw: pl.DataFrame, seed: int, repeats: str) -> None:
    tables = from_raw_to_candidates(raw, seed, repeats)
    for name, table in tables.items():
        validate(table, TABLES[name])
    interactions, histories, sets = (tables[name] for name in ("interactions", "histories", "candidate_sets"))
    require(
        [
            interactions_are_chronological(interactions),
            split_is_leave_one_out(interactions),
            histories_precede_targets(histories, interactions),
            training_touches_no_held_out_item(histories, interactions),
            one_target_per_candidate_set(histories, sets),
            candidates_are_untouched(histories, sets, interactions),
        ]
    )


@given(raw=raw_logs(), min_weight=st.sampled_from([None, 2.0]))
def test_the_report_accounts_for_every_dropped_row(raw: pl.DataFrame, min_weight: float | None) -> None:
    assume(min_weight is None or (raw["weight"] >= min_weight).any())
    result = cleaned(raw, min_weight=min_weight)
    table = result.report.as_table()
    assert (table["dropped"] >= 0).all()
    assert raw.height - table["dropped"].sum() == result.interactions.collect().height == result.report.interactions
    assert (result.users.height, result.items.height) == (result.report.users, result.report.items)


@given(pairs=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=60), k=st.integers(1, 4))
def test_the_k_core_is_the_largest_set_that_satisfies_itself(pairs: list[tuple[int, int]], k: int) -> None:
    rows = list(pairs)
    while True:  # the definition: drop one offending row at a time, in any order
        short = [
            place
            for place, (user, item) in enumerate(rows)
            if sum(u == user for u, _ in rows) < k or sum(i == item for _, i in rows) < k
        ]
        if not short:
            break
        del rows[short[-1]]
    users, items = np.array(pairs, dtype=np.int32).T
    chunks = [(users[start : start + 7], items[start : start + 7]) for start in range(0, len(pairs), 7)]
    core = k_core(lambda: chunks, 8, 8, k)
    assert core.interactions == len(rows)
    assert set(np.flatnonzero(core.users)) == {user for user, _ in rows}
    assert set(np.flatnonzero(core.items)) == {item for _, item in rows}
    largest, of_largest = largest_core(lambda: chunks, 8, 8, below=9)
    assert of_largest.interactions > 0
    assert k_core(lambda: chunks, 8, 8, largest + 1).interactions == 0


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5), max_length=st.integers(2, 9))
def test_windows_carry_every_train_target_once_as_the_rule_says(lengths: list[int], max_length: int) -> None:
    rows = [(user, 100 * user + item, "train") for user, length in enumerate(lengths) for item in range(length)]
    log = pl.DataFrame(rows, schema={"user_id": pl.Int32, "item_id": pl.Int32, "split": pl.String}, orient="row")
    built = build_histories(log, Histories(max_length=max_length)).select("user_id", "history", "target").rows()
    expected = []
    for user, length in enumerate(lengths):
        items = [100 * user + item for item in range(length)]
        owned = 1  # the user's first item is nobody's target
        for start in range(0, length, max_length // 2):
            end = min(start + max_length + 1, length)
            expected += [(user, items[start:target], items[target]) for target in range(max(owned, start + 1), end)]
            owned = max(owned, end)
    assert built == expected


@given(raw=raw_logs(), seed=st.integers(0, 3), part=st.integers(2, 3))
def test_a_partition_of_the_users_draws_what_the_whole_draws(raw: pl.DataFrame, seed: int, part: int) -> None:
    tables = from_raw_to_candidates(raw, seed, "first")
    interactions, histories = tables["interactions"], tables["histories"]
    parts = [
        draw_candidates(
            histories.filter(pl.col("user_id") % part == rest),
            interactions.filter(pl.col("user_id") % part == rest),
            30,
            Candidates(n=6),
            seed,
        )
        for rest in range(part)
    ]
    assert pl.concat(parts).sort("row_id").equals(tables["candidate_sets"])


@given(raw=raw_logs(), seed=st.integers(0, 3), replacement=st.randoms())
def test_candidate_sets_do_not_depend_on_the_target(raw: pl.DataFrame, seed: int, replacement: object) -> None:
    tables = from_raw_to_candidates(raw, seed, "first")
    histories, interactions = tables["histories"], tables["interactions"]
    touched = dict(interactions.group_by("user_id").agg("item_id").iter_rows())
    other = [replacement.choice(touched[user]) for user in histories["user_id"]]  # type: ignore[attr-defined]
    replaced = histories.with_columns(target=pl.Series(other, dtype=pl.Int32))
    sets = draw_candidates(replaced, interactions, 30, Candidates(n=6), seed)["candidates"].to_list()
    for original, changed in zip(tables["candidate_sets"]["candidates"].to_list(), sets, strict=True):
        assert sum(a != b for a, b in zip(original, changed, strict=True)) <= 1


MINERS = ("hardest", "in_batch", "popularity", "uniform")


@st.composite
def pools(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame]:
    """histories and mined_negatives with pools of any size, empty ones and items that several miners found included."""
    items = st.lists(st.integers(0, 12), max_size=6, unique=True)
    rows = draw(st.lists(st.tuples(items, items, items, items), min_size=1, max_size=6))
    ranks = {item: rank for rank, item in enumerate(draw(st.permutations(range(13))), start=1)}
    boundary = draw(st.sets(st.integers(0, 12)))
    mined = [
        (row, item, ranks[item], miner, place, item in boundary)
        for row, kinds in enumerate(rows)
        for miner, kind in zip(MINERS, kinds, strict=True)
        for place, item in enumerate(kind, start=1)
    ]
    schema = {"row_id": pl.Int32, "item_id": pl.Int32, "rank": pl.Int32, "miner": pl.String, "place": pl.Int32}
    histories = pl.DataFrame({"row_id": range(len(rows)), "split": "train", "target": 20}).cast({"row_id": pl.Int32})
    return histories, pl.DataFrame(mined, schema=schema | {"on_boundary": pl.Boolean}, orient="row")


@given(
    tables=pools(),
    n=st.integers(1, 8),
    miner=st.sampled_from([*MINERS, "mixed", "boundary"]),
    share=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    min_rank=st.integers(1, 4),
    order=st.randoms(),
)
def test_negatives_are_nested_distinct_from_the_pool_and_independent_of_its_order(
    tables: tuple[pl.DataFrame, pl.DataFrame], n: int, miner: str, share: float, min_rank: int, order: object
) -> None:
    histories, mined = tables
    shuffled = list(range(mined.height))
    order.shuffle(shuffled)  # type: ignore[attr-defined]

    def chosen(pool: pl.DataFrame, n: int) -> list[list[int]]:
        fields = {"n": n, "miner": miner, "hard_share": share, "min_rank": min_rank}
        return choose_negatives(histories, pool, Negatives.model_validate(fields), 0)["rejected"].to_list()

    most = chosen(mined, n + 3)
    kinds = {"mixed": ("hardest", "uniform"), "boundary": MINERS}.get(miner, (miner,))
    for row, (fewer, more) in enumerate(zip(chosen(mined, n), most, strict=True)):
        assert more[: len(fewer)] == fewer
        assert len(fewer) <= n
        assert len(set(more)) == len(more)
        in_pool = mined.filter((pl.col("row_id") == row) & pl.col("miner").is_in(kinds) & (pl.col("rank") >= min_rank))
        if miner == "boundary":
            in_pool = in_pool.filter("on_boundary")
        assert set(more) <= set(in_pool["item_id"])
        if miner != "mixed":
            assert len(more) == min(n + 3, in_pool["item_id"].n_unique())  # nothing is left out that could be taken
    assert chosen(mined[shuffled], n + 3) == most


@given(raw=raw_logs(), newcomer=st.integers(0, 11))
def test_a_user_who_comes_or_goes_changes_no_other_users_order_of_ties(raw: pl.DataFrame, newcomer: int) -> None:
    extra = raw.head(1).with_columns(user=pl.lit("a newcomer"), item=pl.lit(f"i{newcomer}"))

    def orders(log: pl.DataFrame) -> dict[str, list[str]]:
        result = cleaned(log, k_core=1)
        named = result.interactions.collect()
        for table, key in ((result.users, "user_id"), (result.items, "item_id")):
            named = named.join(table, on=key, maintain_order="left")
        return dict(named.group_by("user", maintain_order=True).agg("item").iter_rows())

    with_newcomer = orders(pl.concat([extra, raw]))
    assert with_newcomer.pop("a newcomer") == [f"i{newcomer}"]
    assert with_newcomer == orders(raw)


SPOILS = [
    pl.lit(None, pl.Int32).alias("item_id"),
    pl.lit(-1, pl.Int32).alias("item_id"),
    pl.lit(float("nan"), pl.Float32).alias("weight"),
    pl.lit("later").alias("split"),
    pl.lit(0, pl.Int32).alias("user_id"),
]


@given(
    spoiled=st.lists(st.tuples(st.integers(0, 29), st.integers(0, len(SPOILS) - 1)), max_size=4),
    chunk_rows=st.integers(1, 31),
    is_lazy=st.booleans(),
)
def test_what_validation_says_does_not_depend_on_chunks(
    spoiled: list[tuple[int, int]], chunk_rows: int, is_lazy: bool
) -> None:
    table = pl.DataFrame({"user_id": [n // 7 for n in range(30)], "item_id": range(30), "at": None, "weight": 1.0})
    table = table.with_columns(split=pl.lit("train")).cast(schema_of("interactions"))
    for row, spoil in spoiled:
        name = SPOILS[spoil].meta.output_name()
        is_row = pl.int_range(pl.len()) == row
        table = table.with_columns(pl.when(is_row).then(SPOILS[spoil]).otherwise(pl.col(name)).alias(name))

    def said(table: pl.DataFrame | pl.LazyFrame, chunk_rows: int) -> str | int:
        try:
            return validate(table, TABLES["interactions"], chunk_rows=chunk_rows)
        except SchemaError as error:
            return str(error)

    assert said(table.lazy() if is_lazy else table, chunk_rows) == said(table, 30)


@given(
    keys=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=30),
    chunk_rows=st.integers(1, 31),
)
def test_a_repeated_key_is_found_across_chunks(keys: list[tuple[int, int]], chunk_rows: int) -> None:
    keys = sorted(keys)
    of_rows = empty("preference_rows").clear()
    rows = [(row, 0, []) for row, _ in keys]
    table = pl.DataFrame(rows, schema=of_rows.schema, orient="row")
    repeated = [row for row in dict(keys) if [other for other, _ in keys].count(row) > 1]
    if not repeated:
        assert validate(table, TABLES["preference_rows"], chunk_rows=chunk_rows) == len(keys)
        return
    first = min(place for place, (row, _) in enumerate(keys) if row == min(repeated))
    count = sum(row in repeated for row, _ in keys)
    message = f"got row_id={min(repeated)} more than once, first in row {first} \\({count} of {len(keys)} rows\\)"
    with pytest.raises(SchemaError, match=message):
        validate(table, TABLES["preference_rows"], chunk_rows=chunk_rows)
