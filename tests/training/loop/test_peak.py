"""How much of a fall on the validation rows could be noise."""

import numpy as np
import pytest

from training.loop.peak import Peak


def test_the_error_is_that_of_paired_differences() -> None:
    peak = Peak(np.arange(4))
    best, now = np.array([1.0, 0.5, 0.5, 1.0]), np.array([0.5, 0.5, 0.0, 0.0])
    assert peak.fall_error(best) is None
    fall = best - now
    assert peak.fall_error(now) == pytest.approx(fall.std(ddof=1) / np.sqrt(4))


def test_the_same_fall_everywhere_is_certain_however_noisy_the_rows() -> None:
    peak = Peak(np.arange(100))
    values = np.random.default_rng(0).random(100)
    peak.fall_error(values)
    assert peak.fall_error(values - 0.25) == pytest.approx(0.0, abs=1e-15)


def test_rows_of_one_user_count_as_one() -> None:
    once, thrice = Peak(np.arange(50)), Peak(np.repeat(np.arange(50), 3))
    best, now = np.random.default_rng(1).random((2, 50))
    best, now = np.maximum(best, now), np.minimum(best, now)
    errors = []
    for peak, times in ((once, 1), (thrice, 3)):
        peak.fall_error(np.repeat(best, times))
        errors.append(peak.fall_error(np.repeat(now, times)))
    assert errors[0] == pytest.approx(errors[1])


def test_it_agrees_with_resampling_users() -> None:
    random = np.random.default_rng(2)
    user_id = random.integers(0, 300, 900)
    best, now = random.random((2, 900))
    best += 0.1
    peak = Peak(user_id)
    peak.fall_error(best)
    _, user = np.unique(user_id, return_inverse=True)
    sums, counts = np.bincount(user, best - now), np.bincount(user)
    drawn = random.integers(0, len(sums), (4000, len(sums)))
    resampled = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    assert peak.fall_error(now) == pytest.approx(resampled.std(), rel=0.05)


def test_a_new_peak_takes_the_place_of_the_old_one_and_survives_a_checkpoint() -> None:
    peak = Peak(np.arange(3))
    assert peak.tensors() == {}
    peak.restore({})
    assert peak.values is None
    low, high, now = np.array([0.1, 0.2, 0.3]), np.array([0.9, 0.2, 0.4]), np.array([0.2, 0.1, 0.4])
    assert peak.fall_error(low) is None
    assert peak.fall_error(high) is None
    again = Peak(np.arange(3))
    again.restore(peak.tensors())
    assert again.fall_error(now) == peak.fall_error(now) == pytest.approx((high - now).std(ddof=1) / np.sqrt(3))
