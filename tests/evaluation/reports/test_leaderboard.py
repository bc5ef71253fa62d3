import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.words import FLOORS
from evaluation.metrics.ranking import METRICS_SCHEMA
from evaluation.reports.costs import Cost
from evaluation.reports.leaderboard import Entry, Leaderboard, as_json, from_json, leaderboard, of_protocol
from evaluation.reports.leaderboard_document import as_html, as_markdown, as_text
from evaluation.reports.leaderboard_figures import intervals_png
from evaluation.statistics.significance import Resampling

NAMES = ("hit_ratio_at_1_of_20", "mrr_of_20", "recall_at_10_full", "ndcg_at_10_full")


def table(
    mean: float, *, users: int = 400, rows_per_user: int = 1, noise: int = 0, names: tuple[str, ...] = NAMES
) -> pl.DataFrame:
    """Values around `mean`, the same for every experiment but for the shift, and for the noise if any."""
    rows = users * rows_per_user
    shared = np.random.default_rng(0).normal(0.0, 0.2, rows)
    own = np.random.default_rng(noise).normal(0.0, 0.2, rows) if noise else 0.0
    parts = [
        pl.DataFrame(
            {
                "row_id": np.arange(rows),
                "user_id": np.arange(rows) // rows_per_user,
                "split": split,
                "protocol": "full" if name.endswith("full") else "of_20",
                "metric": name,
                "value": mean + shared + own,
            },
            schema=METRICS_SCHEMA,
        )
        for name in names
        for split in ("validation", "test")
    ]
    return pl.concat(parts)


KINDS = {"sft": "sft", "dmpo": "preference", "sdpo": "preference", "popularity": "baseline"}
TABLES = {"sft": table(0.3), "dmpo": table(0.35), "sdpo": table(0.3, noise=7), "popularity": table(0.1, noise=8)}


def board(
    tables: dict[str, pl.DataFrame] = TABLES,
    kinds: dict[str, str] = KINDS,
    *,
    bases: str | dict[str, str] | None = "sft",
    beyond: dict[str, dict[str, float]] | None = None,
    leaks: dict[str, dict[str, str]] | None = None,
    choices: dict[str, dict[str, str]] | None = None,
    costs: dict[str, Cost] | None = None,
    split: str = "test",
    resamples: int = 3000,
    **others: Any,
) -> Leaderboard:
    """A leaderboard of these tables, compared with one base or with a base each."""
    base_of = dict.fromkeys(tables, bases) if isinstance(bases, str) else bases or {}
    entries = {
        name: Entry(
            metrics=metrics,
            kind=kinds[name],
            is_floor=name in FLOORS,
            base=base_of.get(name),
            beyond_accuracy=(beyond or {}).get(name, {}),
            leaks=(leaks or {}).get(name, {}),
            choices=(choices or {}).get(name, {}),
            cost=(costs or {}).get(name),
        )
        for name, metrics in tables.items()
    }
    return leaderboard(entries, dataset="demo", split=split, how=Resampling(resamples), **others)


def test_rows_are_best_first_and_judged_against_the_base() -> None:
    result = board()
    assert [row.experiment for row in result.rows][-1] == "popularity"
    verdicts = {row.experiment: {c.outcome for c in row.comparisons.values()} for row in result.rows}
    assert verdicts == {"dmpo": {"better"}, "sft": set(), "sdpo": {"cannot tell"}, "popularity": {"worse"}}
    assert [row.is_floor for row in result.rows] == [row.experiment == "popularity" for row in result.rows]


def test_json_has_the_agreed_shape() -> None:
    plain = json.loads(json.dumps(as_json(board()), allow_nan=False))
    assert list(plain)[:3] == ["dataset", "split", "rows"]
    assert (plain["dataset"], plain["split"]) == ("demo", "test")
    for row in plain["rows"]:
        assert KINDS[row["experiment"]] == row["kind"]
        assert tuple(row["metrics"]) == NAMES
        for interval in row["metrics"].values():
            assert list(interval) == ["value", "low", "high"]
            assert interval["low"] <= interval["value"] <= interval["high"]


def test_the_order_of_experiments_and_rows_changes_nothing() -> None:
    shuffled = {name: TABLES[name].sample(fraction=1.0, shuffle=True, seed=3) for name in reversed(TABLES)}
    again = board(shuffled, KINDS, bases=dict.fromkeys(TABLES, "sft"), resamples=3000)
    assert as_json(again) == as_json(board())
    assert as_text(again) == as_text(board())


def test_text_is_aligned_and_fits_the_terminal() -> None:
    lines = as_text(board()).splitlines()
    assert max(map(len, lines)) <= 120
    shown = [line for line in lines if "[" in line]
    assert len(shown) == 4
    assert len({line.index("[") for line in shown}) == 1
    for said in ("demo, test: 400 users, 400 rows", "resampled 3,000 times, seed 0", "of_20 = the target and 19 items"):
        assert said in "\n".join(lines[:5])
    assert any(line.startswith("* popularity") for line in lines)


@pytest.mark.parametrize("width", [60, 100, 120])
def test_a_narrow_terminal_gets_several_blocks_and_long_names_keep_both_ends(width: int) -> None:
    long = "dynamicpo-dmpo-" + "k15-" * 20 + "s3"
    result = board(
        TABLES | {long: table(0.33)},
        KINDS | {long: "preference"},
        bases=dict.fromkeys(TABLES, "sft"),
        resamples=500,
    )
    text = as_text(result, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert all(name in text for name in NAMES)
    assert sum("…" in line and "s3" in line and line.strip().startswith("dyn") for line in text.splitlines()) >= 1


def test_several_rows_per_user_show_the_user_means_too() -> None:
    tables = {"sft": table(0.3, users=50, rows_per_user=3), "dmpo": table(0.35, users=50, rows_per_user=3)}
    kinds = {"sft": "sft", "dmpo": "preference"}
    result = board(tables, kinds, bases=dict.fromkeys(tables, "sft"), resamples=500)
    assert (result.users, result.rows_evaluated) == (50, 150)
    assert tuple(result.rows[0].user_means) == NAMES
    assert "user means" in as_text(result)
    assert not board().rows[0].user_means


def test_markdown_holds_every_row_and_statement() -> None:
    text = as_markdown(board())
    assert text.startswith("- demo, test: 400 users")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert {line.count("|") for line in rows} == {1 + 2 + len(NAMES)}
    assert any(line.startswith("| popularity * | baseline |") for line in rows)


def test_the_picture_is_a_png_and_is_the_same_each_time() -> None:
    picture = intervals_png(board())
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert picture == intervals_png(board())


def test_an_experiment_without_a_protocol_has_a_gap_not_a_zero() -> None:
    foreign = table(0.4, names=NAMES[:2])
    result = board(
        TABLES | {"foreign": foreign},
        KINDS | {"foreign": "preference"},
        bases=dict.fromkeys(TABLES, "sft"),
        resamples=500,
    )
    assert result.rows[-1].experiment == "foreign", "sorted by a metric that it lacks"
    assert tuple(result.rows[-1].metrics) == NAMES[:2]
    line = next(line for line in as_text(result).splitlines() if "foreign" in line)
    assert line.split()[-1] == "-"
    assert intervals_png(result)


def test_without_a_base_there_is_no_comparison() -> None:
    result = board(bases=None)
    assert not any(row.comparisons for row in result.rows)
    assert result.smallest_detectable == {}
    assert "better" not in as_text(result)


def test_each_experiment_is_compared_with_what_it_started_from() -> None:
    tables = TABLES | {"sft-large": table(0.4), "dmpo-large": table(0.35)}
    kinds = KINDS | {"sft-large": "sft", "dmpo-large": "preference"}
    bases = dict.fromkeys(tables, "sft") | {"dmpo-large": "sft-large"}
    result = board(tables, kinds, bases=bases, resamples=2000)
    verdicts = {row.experiment: (row.base, {c.outcome for c in row.comparisons.values()}) for row in result.rows}
    assert verdicts["dmpo"] == ("sft", {"better"})
    assert verdicts["dmpo-large"] == ("sft-large", {"worse"})
    assert verdicts["sft"] == (None, set())
    assert result.base == "sft"
    assert "against sft (dmpo-large against sft-large)" in " ".join(as_text(result).split())
    rows = {row["experiment"]: row for row in as_json(result)["rows"]}
    assert rows["dmpo-large"]["base"] == "sft-large"


def test_who_is_left_out_is_named_with_the_reason() -> None:
    result = board(left_out={"dpo": "its file has changed since it was measured"})
    for written in (as_text(result), as_markdown(result)):
        assert "left out: dpo, its file has changed since it was measured" in written
    assert as_json(result)["left_out"] == {"dpo": "its file has changed since it was measured"}


LEAKS = {"interactions.order_is_one_in_time": "ids rise in 99.9% of pairs", "histories.no_future": "late rows"}


def test_every_number_from_a_leak_is_marked_and_the_reasons_stand_in_the_header() -> None:
    result = board(leaks={"sft": LEAKS, "dmpo": {"histories.no_future": "late rows"}})
    text, markdown, plain = as_text(result, width=200), as_markdown(result), as_json(result)
    for written in (text, markdown):
        head, _, table = written.partition("hit_ratio_at_1_of_20  ") if written is text else written.partition("| exp")
        assert "LEAKS ACCEPTED" in head
        for name, reason in LEAKS.items():
            assert f"† {name}: {reason}" in head
        for line in table.splitlines():
            if line.lstrip("|* ").startswith(("sft", "dmpo")):
                assert line.count("†") == len(NAMES), line
            elif line.lstrip("|* ").startswith(("sdpo", "popularity")):
                assert "†" not in line
    assert plain["leaks"] == LEAKS
    for row in plain["rows"]:
        is_leaky = row["experiment"] in ("sft", "dmpo")
        assert row["leaky"] == bool(row["leaks"]) == is_leaky
        for number in [*row["metrics"].values(), *row["user_means"].values(), *row["comparisons"].values()]:
            assert number.get("leaky", False) == is_leaky
    assert intervals_png(result) != intervals_png(board())


def test_user_means_from_a_leak_are_marked_too() -> None:
    tables = {name: table(0.3, rows_per_user=2) for name in ("sft", "dmpo")}
    kinds = {"sft": "sft", "dmpo": "preference"}
    result = board(tables, kinds, bases=None, leaks={"sft": LEAKS}, resamples=500)
    below = as_text(result, width=200).partition("user means")[2]
    assert [line.count("†") for line in below.splitlines() if line.strip().startswith(("sft", "dmpo"))] in (
        [4, 0],
        [0, 4],
    )


def test_rules_without_a_model_stand_in_the_header() -> None:
    rules = [{"split": "test", "rule": "next_id", "hit_ratio_at_1_of_20": 0.1, "recall_at_10_full": 0.02}]
    result = board(shortcuts=rules)
    said = "rules without a model (hit_ratio_at_1_of_20 / recall_at_10_full): next_id 0.100 / 0.020"
    assert said in as_text(result, width=200)
    assert said in as_markdown(result)
    assert as_json(result)["shortcuts"] == rules


def test_an_experiment_alone_can_be_its_own_base() -> None:
    result = board({"sft": TABLES["sft"]}, {"sft": "sft"}, bases={"sft": "sft"}, resamples=100)
    assert result.rows[0].comparisons == {}
    assert as_text(result)
    assert intervals_png(result)


def test_many_comparisons_get_the_resamples_that_their_correction_needs() -> None:
    many = {f"dmpo-s{seed}": table(0.35) for seed in range(40)} | {"sft": TABLES["sft"]}
    result = board(
        many,
        dict.fromkeys(many, "preference"),
        bases=dict.fromkeys(many, "sft"),
        resamples=100,
    )
    assert result.resamples >= 2 * 160 / 0.05
    assert all(c.outcome == "better" for row in result.rows for c in row.comparisons.values())


def test_a_difference_that_one_comparison_shows_can_be_lost_among_many() -> None:
    """The own noise has a standard error of 0.01; the observed difference is 2.4 times that, so p is about 0.016."""
    shift = 0.024 - np.random.default_rng(7).normal(0.0, 0.2, 400).mean()
    tables = {"sft": table(0.3, names=NAMES[:1]), "dmpo": table(0.3 + shift, noise=7, names=NAMES[:1])}
    others = {f"sdpo-s{seed}": table(0.3, noise=20 + seed, names=NAMES[:1]) for seed in range(9)}

    def of_dmpo(tables: dict[str, pl.DataFrame]) -> str:
        kinds = dict.fromkeys(tables, "preference")
        result = board(tables, kinds, bases=dict.fromkeys(tables, "sft"), resamples=5000)
        return next(row for row in result.rows if row.experiment == "dmpo").comparisons[NAMES[0]].outcome

    assert of_dmpo(tables) == "better"
    assert of_dmpo(tables | others) == "cannot tell"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bases": {"dmpo": "sftt"}}, r"\['dmpo', .*got \['sftt'\]"),
        ({"split": "train"}, "must have rows of split train"),
    ],
)
def test_a_wrong_name_is_refused_with_those_there_are(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        board(**changes)


def test_a_comparison_has_its_effect_in_the_json() -> None:
    plain = as_json(board())
    row = next(row for row in plain["rows"] if row["experiment"] == "dmpo")
    found = row["comparisons"]["ndcg_at_10_full"]["effect"]
    assert list(found) == ["standardised", "wins", "losses", "odds_ratio", "mcnemar_p"]
    assert (found["wins"], found["losses"]) == (400, 0), "dmpo is sft with every value raised"


def test_seeds_of_one_experiment_are_one_line_below_the_table() -> None:
    tables = {"sft": TABLES["sft"], "sdpo-s0": table(0.3, noise=1), "sdpo-s1": table(0.34, noise=2)}
    kinds = {"sft": "sft", "sdpo-s0": "preference", "sdpo-s1": "preference"}
    seeded = board(tables, kinds, bases=None, resamples=500)
    plain = json.loads(json.dumps(as_json(seeded), allow_nan=False))
    (group,) = plain["seed_groups"]
    assert (group["name"], group["seeds"]) == ("sdpo", [0, 1])
    found = group["metrics"]["ndcg_at_10_full"]
    is_asked = (pl.col("split") == "test") & (pl.col("metric") == "ndcg_at_10_full")
    means = [tables[name].filter(is_asked)["value"].to_numpy().mean() for name in ("sdpo-s0", "sdpo-s1")]
    assert found["value"] == pytest.approx(np.mean(means))
    assert found["seed_deviation"] == pytest.approx(np.std(means, ddof=1))
    for text in (as_text(seeded), as_markdown(seeded)):
        assert "sdpo, 2 seeds: hit_ratio_at_1_of_20 " in text
    assert len([row for row in plain["rows"] if row["experiment"].startswith("sdpo")]) == 2, "they stay in the table"
    assert "seeds" not in as_text(board())


def test_further_numbers_are_in_the_json_alone() -> None:
    plain = as_json(board(beyond={"dmpo": {"gini_at_10_full": 0.75}}))
    beyond = {row["experiment"]: row["beyond_accuracy"] for row in plain["rows"]}
    assert beyond["dmpo"] == {"gini_at_10_full": 0.75}
    assert beyond["sft"] == {}
    assert "gini" not in as_text(board(beyond={"dmpo": {"gini_at_10_full": 0.75}}))


def test_baselines_and_models_from_elsewhere_do_not_blunt_the_smallest_detectable_difference() -> None:
    noisy = {**TABLES, "als": table(0.2, noise=9)}
    for kind in ("baseline", "foreign"):
        found = board(
            noisy, {**KINDS, "als": kind}, bases=dict.fromkeys(TABLES, "sft"),
            resamples=3000,
        )  # fmt: skip
        assert found.smallest_detectable == board().smallest_detectable


COSTS = {
    "sft": Cost(train_seconds=40.0, total_seconds=40.0, examples_per_s=900.0, train_peak_bytes=700_000_000),
    "dmpo": Cost(train_seconds=10.0, total_seconds=55.5, score_ms_per_user=0.25, is_partial=True),
    "sdpo": Cost(train_seconds=12.0, total_seconds=57.5),
    "popularity": Cost(train_seconds=0.0, total_seconds=0.0),
}
COVERED = {name: {"coverage_at_10_full": 0.4} for name in COSTS}
CHOICES = {"dmpo": {"objective": "dmpo", "representation": "items", "seed": "0"}}


def test_what_was_written_reads_back_whole() -> None:
    several = {"sft": table(0.3, users=50, rows_per_user=3), "sdpo-s0": table(0.3, users=50, rows_per_user=3, noise=1)}
    several |= {"sdpo-s1": table(0.34, users=50, rows_per_user=3, noise=2)}
    whole = board(
        several,
        {"sft": "sft", "sdpo-s0": "preference", "sdpo-s1": "preference"},
        bases=dict.fromkeys(several, "sft"),
        leaks={"sft": LEAKS},
        left_out={"dpo": "gone"},
        shortcuts=[{"split": "test", "rule": "next_id", "recall_at_10_full": 0.02}],
        costs=COSTS,
        choices=CHOICES,
        beyond=COVERED,
        resamples=500,
    )
    for given in (whole, board(costs=COSTS, choices=CHOICES)):
        read = from_json(json.loads(json.dumps(as_json(given))))
        assert as_json(read) == as_json(given)
        assert as_text(read) == as_text(given)
        assert as_markdown(read) == as_markdown(given)


def test_costs_stand_beside_the_results_and_change_none_of_them() -> None:
    with_costs, without = as_json(board(costs=COSTS, beyond=COVERED)), as_json(board(beyond=COVERED))
    assert with_costs.pop("costs")["dmpo"] == {
        "train_seconds": 10.0,
        "total_seconds": 55.5,
        "score_ms_per_user": 0.25,
        "is_partial": True,
    }
    assert with_costs.pop("pareto_front") == ["dmpo", "sft"]
    assert with_costs == without
    assert "costs" not in without


@pytest.mark.parametrize("width", [60, 100, 140])
def test_the_table_of_costs_has_every_experiment_and_fits_the_terminal(width: int) -> None:
    text = as_text(board(costs=COSTS, beyond=COVERED, choices=CHOICES), width=width)
    assert max(map(len, text.splitlines())) <= width
    below = text.partition("\ncost ")[2]
    line = next(line for line in below.splitlines() if line.strip().startswith("dmpo"))
    if width == 140:
        assert line.split() == ["dmpo", "dmpo", "items", "0", "≥", "10.0", "≥", "55.5", "-", "-", "0.25", "0.400", "◆"]
    assert "◆ none is as good in ndcg_at_10_full" in text
    assert "* popularity" in below


def test_floors_are_never_on_the_front_however_cheap() -> None:
    assert board(costs=COSTS, beyond=COVERED).pareto_front == ("dmpo", "sft")
    assert board(beyond=COVERED).pareto_front == ()


def test_one_protocol_alone_keeps_the_verdicts_of_the_whole() -> None:
    whole = board(costs=COSTS)
    part = of_protocol(whole, "of_20")
    assert part.metrics == NAMES[:2]
    assert part.sorted_by == "mrr_of_20"
    assert "full" not in "".join(part.smallest_detectable)
    for row in part.rows:
        (same,) = [other for other in whole.rows if other.experiment == row.experiment]
        assert row.comparisons == {name: same.comparisons[name] for name in row.comparisons}
        assert tuple(row.metrics) == NAMES[:2]
    assert "recall_at_10_full" not in as_text(part)
    with pytest.raises(ValueError, match="protocol must be one of of_20, full, got of_100"):
        of_protocol(whole, "of_100")


def test_the_page_needs_nothing_else_and_holds_what_the_table_holds() -> None:
    given = board(costs=COSTS, beyond=COVERED, leaks={"sft": {"a<b": "late <rows>"}}, left_out={"dpo": "gone"})
    page = as_html(given)
    for outside in ("http://", "https://", "src='/", "<link"):
        assert outside not in page
    for text in ("LEAKS ACCEPTED", "late &lt;rows&gt;", "left out: dpo, gone", "◆", "* popularity"):
        assert text in page
    assert page.count("data:image/png;base64,") == 2
    plain = page.partition('id="leaderboard">')[2].partition("</script>")[0]
    assert json.loads(plain) == json.loads(json.dumps(as_json(given)))
    assert page == as_html(given)


def test_a_leaderboard_that_an_earlier_version_stored_reads_back() -> None:
    """Marks inside numbers, derived entries and costs without their missing parts, as they were written by hand."""
    old = {
        "dataset": "demo", "split": "test", "users": 1, "rows_evaluated": 1, "metrics": ["mrr_of_20"],
        "protocols": ["of_20"], "sorted_by": "mrr_of_20", "base": "sft", "resamples": 10, "seed": 0, "level": 0.95,
        "smallest_detectable_difference": {"mrr_of_20": 0.1}, "left_out": {}, "seed_groups": [], "leaks": {"a": "b"},
        "shortcuts": [], "costs": {"dmpo": {"total_seconds": 1.0, "is_partial": False}}, "pareto_front": [],
        "rows": [{
            "experiment": "dmpo", "kind": "preference", "is_floor": False, "base": "sft", "beyond_accuracy": {},
            "leaky": True, "leaks": ["a"], "choices": {}, "user_means": {},
            "metrics": {"mrr_of_20": {"value": 0.5, "low": 0.4, "high": 0.6, "leaky": True}},
            "comparisons": {"mrr_of_20": {
                "difference": 0.1, "low": 0.0, "high": 0.2, "p_value": 0.01, "adjusted_p": 0.02, "verdict": "better",
                "effect": {"standardised": 0.1, "wins": 1, "losses": 0, "odds_ratio": None, "mcnemar_p": None},
                "leaky": True,
            }},
        }],
    }  # fmt: skip
    read = from_json(json.loads(json.dumps(old)))
    assert as_json(read) == old
    assert "0.500† [0.400, 0.600] ▲" in as_markdown(read)
    with pytest.raises(ValueError, match="rows"):
        from_json({**old, "rows": [{"experiment": "dmpo"}]})
