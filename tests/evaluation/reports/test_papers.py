"""What is ours has intervals and marks, what is published is as printed, and nobody can take one for the other."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from contracts.files.load import is_published, load_published, load_study
from contracts.files.names import study_keys
from contracts.files.yaml_lines import ConfigurationError
from evaluation.metrics.ranking import METRICS_SCHEMA
from evaluation.reports.papers import Claim, as_html, as_json, as_markdown, paper_table
from evaluation.statistics.significance import Resampling

NAMES = ("hit_ratio_at_1_of_20", "recall_at_10_full")
SOURCES = {"Paper": "Somebody 2024, table 2"}
CLAIMS = [Claim("Their model", "Paper", {"hit_ratio_at_1_of_20": 0.6617})]


def table(mean: float, *, split: str = "test", users: int = 50) -> pl.DataFrame:
    noise = np.random.default_rng(0).normal(0.0, 0.1, users)
    return pl.concat(
        pl.DataFrame(
            {
                "row_id": np.arange(users),
                "user_id": np.arange(users),
                "split": split,
                "protocol": "full" if name.endswith("full") else "of_20",
                "metric": name,
                "value": mean + noise,
            },
            schema=METRICS_SCHEMA,
        )
        for name in NAMES
    )


def test_ours_and_theirs_stand_in_one_table_of_the_published_metrics() -> None:
    ours = {"sft": table(0.4), "dmpo": table(0.5)}
    part = paper_table(ours, CLAIMS, dataset="bench", split="test", leaks={}, how=Resampling(200))
    assert part.metrics == ("hit_ratio_at_1_of_20",), "only what is published can be set beside it"
    assert [result.experiment for result in part.results] == ["dmpo", "sft"]
    text = as_markdown("How good?", [part], SOURCES)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [row[0].strip("| ") for row in rows] == ["model", "---", "dmpo", "sft", "Their model"]
    assert rows[-1][1:] == ["Paper", "0.6617 |"]
    assert rows[2][1] == "ours"
    assert "[" in rows[2][2]
    assert "Paper: Somebody 2024, table 2" in text


def test_validation_rows_are_never_passed_off_as_the_published_test_rows() -> None:
    part = paper_table({"sft": table(0.4, split="validation")}, CLAIMS, dataset="b", split="validation", leaks={})
    for text in (as_markdown("?", [part], SOURCES), as_html("?", [part], SOURCES)):
        assert "test rows, which are not here" in text


def test_numbers_from_a_leak_are_marked_and_the_lists_part_in_them_is_a_paired_difference() -> None:
    part = paper_table(
        {"sft": table(0.6)},
        CLAIMS,
        dataset="leaky",
        split="test",
        leaks={"sft": ["candidate_sets.lists_share"]},
        elsewhere={"sft": table(0.4)},
        same_rows_as="fair",
        how=Resampling(200),
    )
    drop = part.results[0].drop["hit_ratio_at_1_of_20"]
    assert drop.value == pytest.approx(0.2)
    assert drop.low == pytest.approx(drop.high), "the same noise in both: paired over users, nothing is left of it"
    text = as_markdown("?", [part], SOURCES)
    assert "0.6" in text
    assert "†" in next(line for line in text.splitlines() if line.startswith("| sft"))
    assert "†" not in next(line for line in text.splitlines() if line.startswith("| Their model"))
    assert "LEAKS ACCEPTED" in text
    assert "candidate_sets.lists_share" in text
    plain = json.loads(json.dumps(as_json([part], SOURCES)))
    assert plain["benchmarks"][0]["results"][0]["leaks"] == ["candidate_sets.lists_share"]


def test_other_rows_cannot_be_subtracted() -> None:
    with pytest.raises(ValueError, match="row"):
        paper_table(
            {"sft": table(0.6)}, CLAIMS, dataset="a", split="test", leaks={}, elsewhere={"sft": table(0.4, users=40)}
        )


FILE = """\
kind: published
question: How good?
sources: {Paper: somewhere}
benchmarks:
  shop: {experiments: [popularity], published: [{model: M, source: Paper, metrics: {ndcg_at_10_full: 0.1}}]}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    for folder in ("datasets", "experiments", "studies"):
        (tmp_path / folder).mkdir()
    (tmp_path / "datasets" / "shop.yaml").write_text("source: {kind: demo, users: 300, items: 150, seed: 3}\n")
    (tmp_path / "experiments" / "popularity.yaml").write_text("kind: baseline\nbaseline: popularity\n")
    return lambda text: (tmp_path / "studies" / "published.yaml").write_text(text)


def test_a_study_of_paper_comparison_is_told_from_a_grid(write: Callable[[str], object]) -> None:
    write(FILE)
    assert is_published("published")
    assert load_published("published").benchmarks["shop"].experiments == ["popularity"]
    with pytest.raises(ConfigurationError, match="kind must be grid here, got published"):
        load_study("published")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("source: Paper", "source: Papers", "published.yaml:5: .*source must be one of Paper, got Papers"),
        ("popularity]", "populrity]", "unknown experiment 'populrity'"),
        ("  shop:", "  shopp:", "unknown data set 'shopp'"),
        ("ndcg_at_10_full", "ndcg_at_9_full", "published.yaml:5"),
        (
            "{experiments",
            "{same_rows_as: fair, experiments",
            "published.yaml:5: .*same_rows_as must be another data set of the study",
        ),
    ],
)
def test_a_mistake_in_the_file_is_named(write: Callable[[str], object], old: str, new: str, said: str) -> None:
    write(FILE.replace(old, new))
    with pytest.raises(ConfigurationError, match=said):
        load_published("published")


def test_the_studies_of_this_project_load() -> None:
    for key in study_keys():
        (load_published if is_published(key) else load_study)(key)
