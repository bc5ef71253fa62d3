"""Counter-based random bits: a function of the counters, and uniform."""

import numpy as np

from contracts.draws import random_bits


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


def test_each_bit_is_set_half_of_the_time() -> None:
    bits = random_bits(7, "x", np.arange(20_000))
    for place in range(64):
        share = float(((bits >> np.uint64(place)) & np.uint64(1)).mean())
        assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(20_000)


def test_neighbouring_counters_are_uncorrelated() -> None:
    values = random_bits(7, "x", np.arange(20_000)).astype(np.float64)
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 5 / np.sqrt(20_000)
