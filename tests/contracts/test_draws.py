"""Random numbers that belong to a row: a function of the keys, uniform, and the same for ever."""

import numpy as np
import pytest

from contracts.draws import below, cell_uniforms, hashes, random_bits, text_bits, uniforms

ROWS, DRAWS = np.arange(20_000)[:, None], np.arange(4)


def test_bits_depend_on_seed_stream_and_every_counter() -> None:
    rows, draws = np.arange(50)[:, None], np.arange(20)
    bits = random_bits(0, "a", rows, draws)
    assert bits.shape == (50, 20)
    assert len(np.unique(bits)) == 1000
    for other in (random_bits(1, "a", rows, draws), random_bits(0, "b", rows, draws)):
        assert not np.isin(other, bits).any()
    swapped = random_bits(0, "a", draws, rows)
    assert (swapped == bits).sum() == 20  # where both counters are equal


def test_bits_are_known_values_for_ever() -> None:
    """Stored negatives and orders of training follow from them: a change here is a change of every experiment."""
    assert random_bits(0, "epoch order", np.array(1), np.arange(2)).tolist() == [
        10795165476166522314,
        6150945999913296350,
    ]


def test_hashes_are_known_values_for_ever() -> None:
    """Changing one of these changes every split and candidate set ever drawn."""
    assert hashes(0, "candidates", np.array([1, 2]), 3).tolist() == [4843696993436984901, 5530605801771373632]
    assert text_bits("é") == 3394012004367669963


def test_the_random_baseline_is_known_for_ever() -> None:
    assert (cell_uniforms(0, "random baseline", np.array([[1], [2]]), np.array([0, 7])) * 2**24).tolist() == [
        [14394064.0, 10078722.0],
        [11212441.0, 9504300.0],
    ]


def test_each_bit_is_set_half_of_the_time() -> None:
    bits = random_bits(7, "x", np.arange(20_000))
    for place in range(64):
        share = float(((bits >> np.uint64(place)) & np.uint64(1)).mean())
        assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(20_000)


def test_neighbouring_counters_are_uncorrelated() -> None:
    values = random_bits(7, "x", np.arange(20_000)).astype(np.float64)
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 5 / np.sqrt(20_000)


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
