"""The Python API on a small finished home: frames with the numbers that the command line prints.

The home is a `demo` of 300 users, walked once, so that the snippets of docs/python.md run in it as they are.
"""

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import borderline
from assets.lake.versions import NotMaterialised
from borderline.cli.main import app
from borderline.home import lake
from contracts.files.yaml_lines import ConfigurationError
from evaluation.metrics.ranking import InvalidPredictions

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
PROJECT = {
    "datasets/demo": "source: {kind: demo, users: 300, items: 150, seed: 3}\nhistories: {max_length: 20}\n",
    "experiments/popularity": "kind: baseline\nbaseline: popularity\n",
    "experiments/random": "kind: baseline\nbaseline: random\n",
    "experiments/sft": (
        "kind: sft\nbackbone: {kind: scratch, hidden: 16, layers: 1, heads: 2, context: 32}\n"
        "optimizer: {kind: adamw, lr: 5.0e-3}\nbudget: {epochs: 1, batch_size: 256, validations: 1}\n"
        "pool: {hard: 4, uniform: 6}\n"
    ),
    "experiments/dmpo-k15": (
        "kind: preference\nstart_from: sft\nobjective: {kind: dmpo, beta: 1.0}\n"
        "negatives: {n: 5, miner: mixed}\noptimizer: {kind: adamw, lr: 1.0e-3}\n"
        "budget: {epochs: 1, batch_size: 256, validations: 1}\n"
    ),
}


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    """The folder of a project with a finished home in it, and the frame that `run` returned."""
    folder = tmp_path_factory.mktemp("face")
    for name, text in PROJECT.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):
        _enter(folder, patch)
        return folder, borderline.run("demo", ["dmpo-k15"])


@pytest.fixture
def demo(walked: tuple[Path, pl.DataFrame], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This process works in the finished home; nothing is warned of that a person would not see."""
    _enter(walked[0], monkeypatch)
    with warnings.catch_warnings(action="ignore"):
        yield walked[0]


def _enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("DAGSTER_HOME", "MLFLOW_TRACKING_URI"):
        patch.delenv(name, raising=False)
    patch.setenv("BORDERLINE_PROJECT", str(folder))
    patch.setenv("BORDERLINE_HOME", str(folder / "home"))
    patch.setenv("BORDERLINE_RAW", str(folder / "raw"))
    patch.setenv("BORDERLINE_THREADS", "1")


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_run_returns_the_leaderboard_of_what_it_materialised(demo: Path, walked: tuple[Path, pl.DataFrame]) -> None:
    assert set(walked[1]["experiment"]) == {"sft", "dmpo-k15", "popularity", "random"}
    assert walked[1].equals(borderline.leaderboard("demo"))


def test_a_second_run_computes_nothing_and_returns_the_same(
    demo: Path, walked: tuple[Path, pl.DataFrame], capfd: pytest.CaptureFixture[str]
) -> None:
    assert borderline.run("demo", ["dmpo-k15"]).equals(walked[1])
    steps = [line for line in capfd.readouterr().err.splitlines() if " of demo" in line]
    assert steps
    assert [line for line in steps if not line.endswith("unchanged, reused")] == []


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_leaderboard_holds_the_numbers_that_the_command_prints(demo: Path, split: str) -> None:
    told = json.loads(printed("leaderboard", "--dataset", "demo", "--split", split, "--format", "json"))
    frame = borderline.leaderboard("demo", split)
    assert frame.columns[:7] == ["experiment", "kind", "split", "metric", "value", "low", "high"]
    assert frame["split"].unique().to_list() == [split]
    compared = frame.filter(pl.col("low").is_not_null())
    found = {(row["experiment"], row["metric"]): row for row in compared.to_dicts()}
    for row in told["rows"]:
        for metric, interval in row["metrics"].items():
            mine = found.pop((row["experiment"], metric))
            assert (mine["value"], mine["low"], mine["high"]) == tuple(
                interval[end] for end in ("value", "low", "high")
            )
            against = row["comparisons"].get(metric, {})
            assert mine["difference"] == against.get("difference")
            assert mine["adjusted_p"] == against.get("adjusted_p")
            assert (mine["kind"], mine["is_floor"]) == (row["kind"], row["is_floor"])
        beyond = frame.filter((pl.col("experiment") == row["experiment"]) & pl.col("low").is_null())
        assert dict(beyond.select("metric", "value").rows()) == row["beyond_accuracy"]
    assert not found


def test_a_table_is_read_when_it_is_collected(demo: Path) -> None:
    histories = borderline.table("demo", "histories")
    assert isinstance(histories, pl.LazyFrame)
    assert set(histories.select("split").collect()["split"]) == {"train", "validation", "test"}
    predictions = borderline.table("demo", "predictions/sft").collect()
    assert set(predictions["protocol"]) == {"of_20", "full"}


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("historys", "Did you mean 'histories'?"),
        ("predictions", "Accepted: predictions/dmpo-k15"),
        ("predictions/no", "Accepted: predictions/dmpo-k15"),
        ("leaderboard", "must be a table"),
        ("sft_policies/sft", "must be a table"),
        ("..", "'..' must be a table or a policy"),
    ],
)
def test_what_is_no_table_is_refused_with_what_is(demo: Path, name: str, fact: str) -> None:
    with pytest.raises(ConfigurationError, match=fact.replace("?", r"\?").replace("..", r"\.\.")):
        borderline.table("demo", name)


def test_a_policy_gives_every_item_a_log_probability(demo: Path) -> None:
    for experiment in ("sft", "dmpo-k15"):
        policy = borderline.load_policy("demo", experiment)
        assert policy.catalogue_of(lake().require("items", ("demo",)).table_path) == 150


def test_a_baseline_has_no_policy_and_an_untrained_one_says_how_to_make_it(demo: Path) -> None:
    with pytest.raises(ConfigurationError, match="'popularity' must train a policy"):
        borderline.load_policy("demo", "popularity")
    path = demo / "experiments" / "later.yaml"
    path.write_text((demo / "experiments" / "sft.yaml").read_text())
    try:
        with pytest.raises(NotMaterialised, match="borderline run --dataset demo --experiments later"):
            borderline.load_policy("demo", "later")
    finally:
        path.unlink()


def test_foreign_predictions_are_measured_as_the_command_measures_their_file(demo: Path, tmp_path: Path) -> None:
    mine = borderline.table("demo", "predictions/sft").select("row_id", "protocol", "items", "scores").collect()
    mine.write_parquet(tmp_path / "mine.parquet")
    told = json.loads(printed("evaluate", str(tmp_path / "mine.parquet"), "--dataset", "demo", "--format", "json"))
    [row] = [row for row in told["rows"] if row["kind"] == "foreign"]
    frame = borderline.evaluate(mine, "demo", name="mine")
    foreign = frame.filter((pl.col("kind") == "foreign") & pl.col("low").is_not_null())
    assert dict(foreign.select("metric", "value").rows()) == {
        name: one["value"] for name, one in row["metrics"].items()
    }
    assert row["experiment"] == "mine"
    sft = frame.filter(pl.col("experiment") == "sft")
    assert sft.select("metric", "value").equals(
        borderline.leaderboard("demo").filter(pl.col("experiment") == "sft").select("metric", "value")
    )


def test_a_foreign_model_never_takes_the_name_of_an_experiment(demo: Path, tmp_path: Path) -> None:
    mine = borderline.table("demo", "predictions/sft").select("row_id", "protocol", "items", "scores").collect()
    names = borderline.evaluate(mine, "demo", name="sft").filter(pl.col("kind") == "foreign")["experiment"]
    assert set(names) == {"sft (foreign)"}
    mine.write_parquet(tmp_path / "sft.parquet")
    told = json.loads(printed("evaluate", str(tmp_path / "sft.parquet"), "--dataset", "demo", "--format", "json"))
    assert [row["experiment"] for row in told["rows"] if row["kind"] == "foreign"] == ["sft.parquet"]


def test_answers_are_measured_as_text(demo: Path, tmp_path: Path) -> None:
    titles = dict(borderline.table("demo", "items").select("item_id", "title").collect().rows())
    histories = borderline.table("demo", "histories").filter(pl.col("split") == "test").collect()
    answers = pl.DataFrame({"row_id": histories["row_id"], "answer": [titles[item] for item in histories["target"]]})
    frame = borderline.evaluate(answers, "demo")
    found = dict(frame.select("metric", "value").rows())
    answers.write_csv(tmp_path / "mine.csv")
    told = json.loads(printed("evaluate", str(tmp_path / "mine.csv"), "--dataset", "demo", "--format", "json"))
    assert found == {name: one["value"] for name, one in told.items()}
    assert max(found.values()) <= 1.0
    assert frame["kind"].unique().to_list() == ["foreign"]


def test_predictions_that_cannot_be_measured_are_refused(demo: Path) -> None:
    with pytest.raises(InvalidPredictions, match="must have the column items"):
        borderline.evaluate(pl.DataFrame({"row_id": [1], "protocol": ["full"]}), "demo")
    with pytest.raises(InvalidPredictions, match="got no row_id"):
        borderline.evaluate(pl.DataFrame({"answer": ["a"]}), "demo")


def test_the_snippets_run_in_order(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(snippets) == PAGE.read_text(encoding="utf-8").count("```python") > 4
    names: dict[str, object] = {}
    for number, snippet in enumerate(snippets, start=1):
        exec(compile(snippet, f"docs/python.md, snippet {number}", "exec"), names)
    assert "upside-down" in capsys.readouterr().out
