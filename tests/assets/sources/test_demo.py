"""The simulated shop: deterministic, noisy like a log, and learnable by looking at sequences."""

import re

import numpy as np
import polars as pl
import pytest

from assets.lake.validate import validate
from assets.sources.demo import GENRE_WORDS, GENRES, simulate
from assets.transforms.cleaning.interactions import Cleaned, clean_interactions
from contracts.config.dataset import Cleaning, Histories, LeaveOneOut
from contracts.config.sources import DemoSource
from contracts.tables import TABLES
from evaluation.statistics.significance import smallest_detectable_difference
from tests.assets.transforms.whole import assign_split, build_histories

USERS, ITEMS = 2_000, 300


@pytest.fixture(scope="module")
def shop() -> tuple[pl.DataFrame, pl.DataFrame]:
    return simulate(USERS, ITEMS, 0)


@pytest.fixture(scope="module")
def clean(shop: tuple[pl.DataFrame, pl.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Cleaned:
    folder = tmp_path_factory.mktemp("scratch")
    shop[0].write_parquet(folder / "raw.parquet")
    return clean_interactions(folder / "raw.parquet", shop[1], Cleaning(ties="hash"), 0, folder)


def test_the_tables_keep_their_contract(shop: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    validate(shop[0], TABLES["raw_interactions"])
    validate(shop[1], TABLES["raw_items"])
    assert shop[1].height == ITEMS
    assert shop[0]["user"].n_unique() == USERS
    assert shop[0]["at"].is_sorted()


def test_a_seed_gives_one_shop_and_another_seed_another() -> None:
    first, again, other = (simulate(60, 60, seed) for seed in (0, 0, 1))
    assert first[0].equals(again[0])
    assert first[1].equals(again[1])
    assert not first[0].equals(other[0])


def test_the_smallest_shop_that_a_config_allows_opens() -> None:
    config = DemoSource.model_validate({"kind": "demo", "users": 50, "items": 50})
    interactions, items = simulate(config.users, config.items, config.seed)
    validate(interactions, TABLES["raw_interactions"])
    touched = interactions.group_by("user").agg(pl.col("item").n_unique())["item"].to_list()
    assert max(touched) <= 25  # a candidate set of 20 always fits
    assert items.height == 50


def test_more_films_than_words_get_sequels_and_titles_stay_distinct() -> None:
    _, items = simulate(50, 6_000, 0)
    assert items["title"].n_unique() == 6_000
    assert items["title"].str.contains(r" 2 \(\d{4}\)$").any()


def test_titles_look_like_titles(shop: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    titles = shop[1]["title"]
    assert titles.n_unique() == ITEMS
    assert all(re.fullmatch(r"[A-Z][^()]+ \((19|20)\d\d\)", title) for title in titles)


def test_no_two_genres_share_a_noun() -> None:
    nouns = [noun for _, words in GENRE_WORDS.values() for noun in words.split()]
    assert len(set(nouns)) == len(nouns) == 6 * len(GENRES)


def test_the_log_is_noisy_like_a_real_one(shop: tuple[pl.DataFrame, pl.DataFrame], clean: Cleaned) -> None:
    n_rows = shop[0].height
    assert 0.005 < clean.report.exact_duplicates / n_rows < 0.02
    assert 0.03 < clean.report.repeats / n_rows < 0.15
    assert clean.report.outside_k_core_users > 0
    ties = shop[0].unique().group_by("user", "at").len().filter(pl.col("len") > 1).height
    assert 0.005 < ties / n_rows < 0.02


def test_ids_tell_neither_popularity_nor_genre(clean: Cleaned) -> None:
    counts = np.bincount(clean.interactions.collect()["item_id"].to_numpy(), minlength=clean.items.height)
    genres = clean.items["category"].rank("dense").to_numpy()
    for told in (counts, genres):
        assert abs(np.corrcoef(np.arange(len(told)), told)[0, 1]) < 4 / np.sqrt(len(told))


def test_few_films_are_taken_often_and_many_seldom(clean: Cleaned) -> None:
    counts = np.sort(np.bincount(clean.interactions.collect()["item_id"].to_numpy()))[::-1]
    fifth = len(counts) // 5
    assert counts[:fifth].sum() > 0.4 * counts.sum()  # an even catalogue: 0.2
    assert counts[-fifth:].sum() < 0.1 * counts.sum()


def test_a_sequence_tells_what_popularity_cannot(clean: Cleaned) -> None:
    """Counts of which film follows which, from train rows alone, against popularity: recall@10 of all films."""
    n_items = clean.items.height
    histories = build_histories(assign_split(clean.interactions.collect(), LeaveOneOut()), Histories())
    last = histories.with_columns(last=pl.col("history").list.last())
    train = last.filter(pl.col("split") == "train")
    popularity = np.bincount(train["target"].to_numpy(), minlength=n_items) / train.height
    follows = np.zeros((n_items, n_items))
    np.add.at(follows, (train["last"].to_numpy(), train["target"].to_numpy()), 1)
    test = last.filter(pl.col("split") == "test")

    def recall_at_10(scores: np.ndarray) -> float:
        owners = np.repeat(np.arange(test.height), test["history"].list.len().to_numpy())
        scores[owners, test["history"].explode(empty_as_null=False).to_numpy()] = -1
        of_target = scores[np.arange(test.height), test["target"].to_numpy()]
        return float(((scores >= of_target[:, None]).sum(axis=1) <= 10).mean())

    by_popularity = recall_at_10(np.tile(popularity, (test.height, 1)))
    by_sequence = recall_at_10(follows[test["last"].to_numpy()] + popularity)
    assert by_popularity < 0.2
    assert by_sequence > by_popularity + 0.2


def test_the_default_size_detects_a_hundredth() -> None:
    discordant, n_rows = 0.10, 7_800
    assert smallest_detectable_difference(np.sqrt(discordant / n_rows)) == pytest.approx(0.0100, abs=1e-4)
