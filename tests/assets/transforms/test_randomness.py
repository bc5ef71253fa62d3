"""Random numbers that belong to a row."""

import numpy as np
import polars as pl
import pytest
from assets.transforms.randomness import below, hashes, text_keys, uniforms

ROWS, DRAWS = np.arange(20_000)[:, None], np.arange(4)


def test_the_numbers_are_the_same_on_every_machine_and_in_every_release() -> None:
    # Changing one of these changes every candidate set ever drawn.
    assert hashes(0, "candidates", np.array([1, 2]), 3).tolist() == [4843696993436984901, 5530605801771373632]
    assert text_keys(pl.Series(["u1", "é"])).tolist() == [15378189911849802130, 3394012004367669963]


def test_a_key_that_changes_changes_the_number() -> None:
    base = hashes(0, "a", 1, 2)
    others = [
        hashes(1, "a", 1, 2),
        hashes(0, "b", 1, 2),
        hashes(0, "a", 2, 2),
        hashes(0, "a", 1, 3),
        hashes(0, "a", 2, 1),
    ]
    assert len({int(base), *map(int, others)}) == 6


def test_negative_and_large_keys_are_keys_like_any_other() -> None:
    keys = np.array([-1, 0, 1, 2**62])
    assert len(set(hashes(0, "a", keys).tolist())) == 4


def test_uniforms_fill_the_unit_interval_evenly_and_independently() -> None:
    draws = uniforms(3, "evenness", ROWS, DRAWS)
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    chi_square = ((counts - draws.size / 20) ** 2 / (draws.size / 20)).sum()
    assert chi_square < 43.8  # 99.9 % point of chi-square with 19 degrees of freedom
    between_draws = np.asarray(np.corrcoef(draws.T))[np.triu_indices(4, k=1)]
    between_rows = np.corrcoef(draws[1:, 0], draws[:-1, 0])[0, 1]
    assert np.abs([*between_draws, between_rows]).max() < 4 / np.sqrt(len(draws))


@pytest.mark.parametrize("limit", [1, 2, 7, 1_000])
def test_below_reaches_every_integer_under_the_limit_and_no_other(limit: int) -> None:
    assert set(below(limit, hashes(0, "below", np.arange(50_000))).tolist()) == set(range(limit))


def test_each_row_has_its_own_limit() -> None:
    limits = np.array([1, 10, 100])
    drawn = below(limits, hashes(0, "limits", np.arange(3), np.arange(500)[:, None]))
    assert (drawn < limits).all()
    assert drawn.max() > 90


def test_equal_texts_have_equal_keys_wherever_they_stand() -> None:
    keys = text_keys(pl.Series(["a", "b", "a", ""]))
    assert keys[0] == keys[2]
    assert len(set(keys.tolist())) == 3
