"""Several seeds of one experiment as one line: the effect of another seed, apart from the effect of other users.

The interval of one run covers users only: a second run with another seed, on the very same users, has another mean.
Names tell which experiments are seeds of one another: they end in `-s<seed>`.
Dimension key: u users, s seeds.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from evaluation.statistics.significance import Panel

_NAME = re.compile(r"(?P<family>.+)-s(?P<seed>\d+)")


@dataclass(frozen=True)
class SeededMetric:
    """One metric of one family of runs."""

    value: float
    """Mean over seeds, of means over rows."""
    low: float
    high: float
    """The interval covers other seeds and other users, for a mean of this many seeds: from both errors below."""
    seed_deviation: float
    """Standard deviation of the runs' means, on the same users: the effect of another seed on one run."""
    user_error: float
    """Standard error of the mean over seeds, over users: the effect of other users on it."""


@dataclass(frozen=True)
class SeedGroup:
    """Experiments that differ in nothing but their seed."""

    name: str
    seeds: tuple[int, ...]
    metrics: Mapping[str, SeededMetric]


def families(experiments: Iterable[str]) -> dict[str, dict[int, str]]:
    """Experiments of two seeds or more by what their names share: family → seed → experiment.

    >>> families(["sdpo-s0", "sdpo-s1", "sft", "dmpo-s0"])
    {'sdpo': {0: 'sdpo-s0', 1: 'sdpo-s1'}}
    """
    found: dict[str, dict[int, str]] = {}
    for experiment in sorted(experiments):
        named = _NAME.fullmatch(experiment)
        if named:
            found.setdefault(named["family"], {})[int(named["seed"])] = experiment
    return {family: dict(sorted(seeds.items())) for family, seeds in found.items() if len(seeds) > 1}


def seed_groups(panel: Panel, *, level: float = 0.95) -> tuple[SeedGroup, ...]:
    """One line for each family on a panel, of the metrics that all its runs have, sorted by name.

    The interval is normal, with the variance :math:`user\\_error^2 + seed\\_deviation^2 / s`. With few seeds the second
    part is poorly known; it is shown so that nobody takes the first for the whole.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    groups: list[SeedGroup] = []
    for family, runs in sorted(families({experiment for experiment, _ in panel.columns}).items()):
        names = [{metric for experiment, metric in panel.columns if experiment == run} for run in runs.values()]
        shared = [
            m for m in dict.fromkeys(metric for _, metric in panel.columns) if all(m in of_run for of_run in names)
        ]
        metrics = {metric: _seeded(panel, list(runs.values()), metric, z) for metric in shared}
        groups.append(SeedGroup(family, tuple(runs), metrics))
    return tuple(groups)


def _seeded(panel: Panel, runs: list[str], metric: str, z: float) -> SeededMetric:
    sums = np.stack([panel.column(run, metric) for run in runs])
    means = sums.sum(axis=1) / panel.rows.sum()
    of_users = sums.mean(axis=0)
    value = float(means.mean())
    # Linearised, as a mean over rows is a ratio of two sums over users (Cochran, Sampling Techniques, 1977, §6.4).
    residuals = of_users - value * panel.rows
    users = panel.rows.size
    user_error = float(np.sqrt(users / max(users - 1, 1) * (residuals**2).sum()) / panel.rows.sum())
    seed_deviation = float(means.std(ddof=1))
    error = float(np.sqrt(user_error**2 + seed_deviation**2 / len(runs)))
    return SeededMetric(value, value - z * error, value + z * error, seed_deviation, user_error)
