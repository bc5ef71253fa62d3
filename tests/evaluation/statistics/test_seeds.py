"""Several seeds as one line, with seed and user variance apart."""

import numpy as np
import pytest

from evaluation.statistics.seeds import families, seed_groups
from evaluation.statistics.significance import Panel

USERS = 2_000


def panel(*, seed_deviation: float, user_deviation: float, seeds: int = 4, rows: int = 1) -> Panel:
    """Runs whose means differ by a shift alone, on users who differ by a shift alone."""
    random = np.random.default_rng(0)
    of_user = random.normal(0.4, user_deviation, USERS)
    shifts = random.normal(0.0, 1.0, seeds)
    shifts = seed_deviation * (shifts - shifts.mean()) / max(shifts.std(ddof=1), 1e-12)
    sums = np.stack([rows * (of_user + shift) for shift in shifts], axis=1)
    columns = tuple((f"sdpo-s{seed}", "ndcg_at_10_full") for seed in range(seeds))
    return Panel(np.arange(USERS), np.full(USERS, float(rows)), columns, sums)


def test_only_names_that_differ_in_their_seed_alone_are_one_family() -> None:
    names = ["dmpo-k15-s10", "dmpo-k15-s9", "dmpo-k1-s9", "sft", "x-s1-s2", "x-s1-s3", "-s1", "als-sa"]
    assert families(names) == {
        "dmpo-k15": {9: "dmpo-k15-s9", 10: "dmpo-k15-s10"},
        "x-s1": {2: "x-s1-s2", 3: "x-s1-s3"},
    }


@pytest.mark.parametrize("rows", [1, 3])
def test_the_two_variances_do_not_leak_into_each_other(rows: int) -> None:
    (group,) = seed_groups(panel(seed_deviation=0.02, user_deviation=0.0, rows=rows))
    found = group.metrics["ndcg_at_10_full"]
    assert found.seed_deviation == pytest.approx(0.02)
    assert found.user_error == pytest.approx(0.0, abs=1e-12)
    (group,) = seed_groups(panel(seed_deviation=0.0, user_deviation=0.3, rows=rows))
    found = group.metrics["ndcg_at_10_full"]
    assert found.seed_deviation == pytest.approx(0.0, abs=1e-12)
    assert found.user_error == pytest.approx(0.3 / np.sqrt(USERS), rel=0.05)


def test_the_interval_is_of_both() -> None:
    (group,) = seed_groups(panel(seed_deviation=0.02, user_deviation=0.3))
    found = group.metrics["ndcg_at_10_full"]
    assert (group.name, group.seeds) == ("sdpo", (0, 1, 2, 3))
    error = np.sqrt(found.user_error**2 + 0.02**2 / 4)
    assert found.high - found.value == pytest.approx(1.959964 * error, rel=1e-6)
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_a_metric_that_one_seed_lacks_and_a_single_seed_are_no_line() -> None:
    whole = panel(seed_deviation=0.1, user_deviation=0.1, seeds=2)
    other = Panel(whole.user_ids, whole.rows, (whole.columns[0], ("sdpo-s1", "mrr_of_20")), whole.sums)
    assert seed_groups(other)[0].metrics == {}
    alone = Panel(whole.user_ids, whole.rows, whole.columns[:1], whole.sums[:, :1])
    assert seed_groups(alone) == ()
