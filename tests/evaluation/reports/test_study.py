"""The report of a study: cells, paired tests, verdicts of sweeps, pictures, and one page."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from evaluation.reports.study import MeasuredRuns, Shared, StudyReport, StudyRun, Topic, study_report
from evaluation.reports.study.cells import StudyNumbers
from evaluation.reports.study.figures import drawn_floors
from evaluation.reports.study.numbers import study_numbers
from evaluation.statistics.significance import Resampling, panel_of

USERS = 200
PNG = b"\x89PNG\r\n"
AXES = {
    "base": ["dmpo", "sdpo"],
    "boundary": ["plain", "dynamicpo"],
    "negatives": ["k1", "k5", "k15"],
    "seed": ["0", "1"],
}
FEW = Resampling(200)


def table(shares: dict[str, float], seed: int = 0) -> pl.DataFrame:
    """Hits of the same users, of whom the first part is easy: two tables with different shares differ in the middle."""
    ease = np.random.default_rng(1).random(USERS) + 0.02 * np.random.default_rng(seed).random(USERS)
    return pl.concat(
        pl.DataFrame(
            {
                "row_id": np.arange(USERS, dtype=np.int32),
                "user_id": np.arange(USERS, dtype=np.int32),
                "split": ["test"] * USERS,
                "protocol": ["full" if metric.endswith("full") else "of_20"] * USERS,
                "metric": [metric] * USERS,
                "value": (ease < share).astype(np.float64),
            }
        )
        for metric, share in shares.items()
    )


def metrics(hit_ratio: float, seed: int = 0) -> pl.DataFrame:
    return table({"ndcg_at_10_full": hit_ratio / 2, "hit_ratio_at_1_of_20": hit_ratio, "coverage": 0.5}, seed)


def curves(last_loss: float) -> dict[str, list[tuple[int, float]]]:
    return {
        "train/loss": [(1, math.log(2)), (10, (math.log(2) + last_loss) / 2), (20, last_loss)],
        "validation/ndcg_at_10_full": [(0, 0.2), (10, 0.25), (20, 0.22)],
        "diagnostic/grad_share_easy": [(1, 0.1), (20, 0.9)],
        "diagnostic/grad_boundary_abs": [(1, 0.5), (20, 1e-4)],
        "diagnostic/saturation": [(1, 0.5), (20, 1e-4)],
    }


def run(base: str, boundary: str, k: int, seed: int) -> StudyRun:
    """DMPO without selection gets worse with more negatives, everything else better; all losses fall."""
    falls = base == "dmpo" and boundary == "plain"
    share = 0.5 - 0.02 * k if falls else 0.5 + 0.01 * k
    labels = {"base": base, "boundary": boundary, "negatives": f"k{k}", "seed": str(seed)}
    kind = base if boundary == "plain" else f"dynamicpo-{base}"
    name = f"collapse.{base}-{boundary}-k{k}-s{seed}"
    return StudyRun(name, labels, metrics(share, seed), curves(0.5 / k), 10.0, objective=kind, start="sft")


RUNS = [run(b, v, k, s) for b in AXES["base"] for v in AXES["boundary"] for k in (1, 5, 15) for s in (0, 1)]
START = StudyRun("sft", {}, metrics(0.5, 7), {}, 60.0)


def report(runs: Sequence[StudyRun] = RUNS, *, topic: dict[str, Any] | None = None, **changed: Any) -> StudyReport:
    options = {"axes": AXES, "starts": [START], "floors": {"popularity": metrics(0.1)}, **changed}
    about = Topic("collapse", "Does it collapse?", "shop", **topic or {})
    return study_report(about, MeasuredRuns(runs, split="test", **options), FEW)


def numbers(
    runs: Sequence[StudyRun],
    floors: dict[str, pl.DataFrame] | None = None,
    axes: dict[str, list[str]] = AXES,
    starts: Sequence[StudyRun] = (START,),
) -> StudyNumbers:
    """Without the pictures, which take most of a report's time."""
    return study_numbers(MeasuredRuns(runs, axes, "test", starts, floors or {}), FEW)


EXTRAS: Any = {
    "selection": pl.DataFrame({"base": ["dmpo"], "rate": ["1e-3"], "chosen": [True]}),
    "shared": [Shared("sft_policies", 60.0, 24), Shared("reference_logps", 12.0, 8)],
}


@pytest.fixture(scope="module")
def whole() -> StudyReport:
    return report(topic=EXTRAS)


def test_every_cell_has_its_mean_over_seeds_with_interval_and_deviation(whole: StudyReport) -> None:
    cells = {cell["name"]: cell for cell in whole.as_json["cells"]}
    assert list(cells) == [f"{b}-{v}-k{k}" for b in AXES["base"] for v in AXES["boundary"] for k in (1, 5, 15)]
    cell = cells["sdpo-plain-k5"]
    assert cell["experiments"] == ["collapse.sdpo-plain-k5-s0", "collapse.sdpo-plain-k5-s1"]
    found = cell["metrics"]["hit_ratio_at_1_of_20"]
    by_seed = [
        float(RUNS_BY_NAME[name].metrics.filter(pl.col("metric") == "hit_ratio_at_1_of_20")["value"].to_numpy().mean())
        for name in cell["experiments"]
    ]
    assert found["by_seed"] == pytest.approx(by_seed)
    assert found["value"] == pytest.approx(np.mean(by_seed))
    assert found["seed_deviation"] == pytest.approx(np.std(by_seed, ddof=1))
    assert found["low"] < found["value"] < found["high"]
    assert cell["losses"][0] == pytest.approx(math.log(2))
    assert "coverage" not in cell["metrics"]


RUNS_BY_NAME = {one.experiment: one for one in RUNS}


def test_the_sweep_that_falls_is_called_collapsed_and_no_other(whole: StudyReport) -> None:
    by = "hit_ratio_at_1_of_20"
    assert {sweep["metric"] for sweep in whole.as_json["sweeps"]} == {by, "ndcg_at_10_full"}
    sweeps = [sweep for sweep in whole.as_json["sweeps"] if sweep["metric"] == by]
    verdicts = {tuple(sweep["labels"].values()): sweep["verdict"] for sweep in sweeps}
    assert verdicts == {
        ("dmpo", "plain"): "collapsed",
        ("dmpo", "dynamicpo"): "healthy",
        ("sdpo", "plain"): "healthy",
        ("sdpo", "dynamicpo"): "healthy",
    }
    assert re.match(
        r"dmpo plain: collapsed, by hit_ratio_at_1_of_20\. 0\.\d{4} with 1, 0\.\d{4} with 15", whole.findings[0]
    )
    assert f"{by} over negatives: of 4 sweeps 1 collapsed, 3 healthy, 0 cannot tell" in whole.findings


def test_comparisons_are_paired_tests_of_seed_means_corrected_by_table(whole: StudyReport) -> None:
    comparisons = whole.as_json["comparisons"]
    tables = {found["pair"]["table"] for found in comparisons}
    assert tables == {"against its start", "against boundary plain", "against the largest negatives"}
    for name in tables:
        mine = [found for found in comparisons if found["pair"]["table"] == name]
        smallest = min(found["difference"]["p_value"] for found in mine)
        assert min(found["adjusted_p"] for found in mine) == pytest.approx(len(mine) * smallest)
    one = next(
        found
        for found in comparisons
        if (found["pair"]["first"], found["pair"]["second"]) == ("dmpo-dynamicpo-k15", "dmpo-plain-k15")
        and found["metric"] == "hit_ratio_at_1_of_20"
    )
    seeds = [
        panel_of({v: RUNS_BY_NAME[f"collapse.dmpo-{v}-k15-s{s}"].metrics for v in ("plain", "dynamicpo")}, split="test")
        for s in (0, 1)
    ]
    of_seeds = [
        (panel.column("dynamicpo", one["metric"]) - panel.column("plain", one["metric"])).sum() / panel.rows.sum()
        for panel in seeds
    ]
    assert one["difference"]["value"] == pytest.approx(np.mean(of_seeds))
    assert one["verdict"] == "better"


def test_the_order_of_runs_changes_nothing(whole: StudyReport) -> None:
    shuffled = report([RUNS[at] for at in np.random.default_rng(3).permutation(len(RUNS))], topic=EXTRAS)
    assert shuffled.as_json == whole.as_json
    assert shuffled.html == whole.html
    assert shuffled.markdown == whole.markdown


def test_the_page_holds_its_pictures_and_needs_nothing_else(whole: StudyReport) -> None:
    assert set(whole.figures) == {"metrics", "differences", "loss_against_metric", "gradients", "curves"}
    assert all(picture.startswith(PNG) for picture in whole.figures.values())
    assert whole.html.count("data:image/png;base64,") == 5
    assert "<script" not in whole.html
    assert not re.search(r'(src|href)="(?!data:)', whole.html)
    for text in ("Does it collapse?", "popularity", "How it was selected", "reference_logps"):
        assert text in whole.html
        assert text in whole.markdown
    # 24 trainings of 10 s; 60 s that 23 others would have repeated, and 12 s that 7 would have
    assert "24 trainings took 4.0 min, 10 s each." in whole.markdown
    assert "each on its own would have taken 24.4 min more" in whole.markdown
    json.dumps(whole.as_json, allow_nan=False)


def test_what_stands_on_the_page_is_escaped() -> None:
    odd = study_report(Topic("<b>", "a < b?", "shop"), MeasuredRuns(RUNS[:1], AXES, "test"), FEW)
    assert "<b>" not in odd.html
    assert "a &lt; b?" in odd.html


def test_a_study_without_numbers_on_an_axis_gets_dots_and_no_sweep() -> None:
    axes = {"base": ["dmpo", "sdpo"], "parts": ["none", "selection", "both"], "seed": ["0"]}
    runs = [
        StudyRun(
            f"ablation.{base}-{label}-s0",
            {"base": base, "parts": label, "seed": "0"},
            metrics(share),
            curves(0.3),
            5.0,
            start="sft",
        )
        for base in axes["base"]
        for label, share in zip(axes["parts"], (0.4, 0.5, 0.6), strict=True)
    ]
    found = report(runs, axes=axes, floors={})
    assert found.as_json["sweeps"] == []
    assert set(found.figures) == {"metrics", "differences", "loss_against_metric", "gradients", "curves"}
    pairs = {(c["pair"]["first"], c["pair"]["second"]) for c in found.as_json["comparisons"]}
    assert ("dmpo-both", "dmpo-none") in pairs
    assert ("dmpo-both", "dmpo-selection") not in pairs
    assert "±" not in found.markdown.split("## Every cell")[1].split("Value [")[0]  # one seed deviates from nothing


def test_cells_that_are_not_measured_yet_may_be_missing() -> None:
    some = [one for one in RUNS if one.labels["negatives"] != "k15" or one.labels["base"] != "dmpo"]
    some = [one for one in some if (one.labels["base"], one.labels["negatives"]) != ("sdpo", "k1")]
    found = numbers(some)
    assert len(found.cells) == 8
    assert {len(sweep.cells) for sweep in found.sweeps} == {2}
    alone = numbers([RUNS[0]], starts=())
    assert (alone.comparisons, alone.sweeps) == ((), ())


def test_a_floor_that_only_orders_candidate_sets_is_shown_with_what_it_has() -> None:
    (floor,) = numbers(RUNS, {"slot": table({"hit_ratio_at_1_of_20": 0.05})}).floors
    assert set(floor.metrics) == {"hit_ratio_at_1_of_20"}


def test_only_floors_near_the_cells_are_drawn() -> None:
    floors = {"near": metrics(0.05), "low": table({"hit_ratio_at_1_of_20": 0.0})}
    crowded = numbers([one for one in RUNS if one.labels["base"] == "sdpo"], floors)  # all within 0.08
    assert drawn_floors(crowded, "hit_ratio_at_1_of_20") == []
    wide = numbers(RUNS, floors)
    assert [floor.name for floor in drawn_floors(wide, "hit_ratio_at_1_of_20")] == ["low", "near"]
    assert [floor.name for floor in drawn_floors(wide, "ndcg_at_10_full")] == ["near"]


def test_what_cannot_be_laid_out_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="at least one measured run, got none"):
        numbers([])
    with pytest.raises(ValueError, match=r"collapse\.dmpo-plain-k1-s0 and again"):
        numbers([RUNS[0], StudyRun("again", RUNS[0].labels, metrics(0.5), {}, 1.0)])
    with pytest.raises(ValueError, match=r"must have labels of the axes .*'base': 'rpo'"):
        numbers([StudyRun("other", {**RUNS[0].labels, "base": "rpo"}, metrics(0.5), {}, 1.0)])
    with pytest.raises(ValueError, match=r"different names, got \['sft'\] twice"):
        numbers(RUNS, {"sft": metrics(0.1)})  # a floor called as the start


def test_every_cell_is_compared_with_what_it_started_from() -> None:
    axes = {"start": ["full", "weak", "other"], "seed": ["0"]}
    runs = [
        StudyRun(f"causes.{label}-s0", {"start": label, "seed": "0"}, metrics(share), curves(0.3), 5.0, start=start)
        for label, share, start in (("full", 0.4, "sft"), ("weak", 0.4, "sft-short"), ("other", 0.4, "unseen"))
    ]
    starts = [START, StudyRun("sft-short", {}, metrics(0.3), {}, 8.0)]
    floors = {"unseen": metrics(0.1)}  # called as a start that is not shown, and none
    found = numbers(runs, floors, axes, starts)
    verdicts = {
        (one.pair.first, one.pair.second): one.outcome
        for one in found.comparisons
        if one.pair.table == "against its start" and one.metric == "hit_ratio_at_1_of_20"
    }
    assert verdicts == {("full", "sft"): "worse", ("weak", "sft-short"): "better"}
    page = report(runs, axes=axes, starts=starts).markdown
    assert "dashed, with its interval: sft, sft-short" in page


def test_a_label_may_be_called_as_a_floor_or_a_start() -> None:
    axes = {"base": ["dmpo"], "miner": ["uniform", "popularity", "sft"], "seed": ["0"]}
    alone = {"miner": axes["miner"], "seed": ["0"]}
    runs = [
        StudyRun(
            f"miners.{label}-s0", {"base": "dmpo", "miner": label, "seed": "0"}, metrics(0.4), {}, 1.0, start="sft"
        )
        for label in axes["miner"]
    ]
    found = report(runs, axes=alone)
    assert [cell["name"] for cell in found.as_json["cells"]] == ["uniform", "popularity (miner)", "sft (miner)"]
    assert [cell["name"] for cell in found.as_json["starts"]] == ["sft"]
    against = [(one["pair"]["first"], one["pair"]["second"]) for one in found.as_json["comparisons"]]
    assert set(against) == {(name, "sft") for name in ("uniform", "popularity (miner)", "sft (miner)")}
    both = {**axes, "base": ["dmpo", "sdpo"], "miner": ["popularity", "uniform"]}
    others = [replace(run, experiment=f"{run.experiment}1", labels={**run.labels, "base": "sdpo"}) for run in runs[:2]]
    named = report([*runs[:2], *others], axes=both, floors={"dmpo-popularity": metrics(0.1)})
    compared = {
        (one["pair"]["first"], one["pair"]["second"])
        for one in named.as_json["comparisons"]
        if one["pair"]["table"] == "against miner popularity"
    }
    assert compared == {("dmpo-uniform", "dmpo-popularity (base-miner)"), ("sdpo-uniform", "sdpo-popularity")}
