"""The report of a study: every experiment of its grid that is measured, side by side, and what sharing saved."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.configuration import load_experiment, load_study
from assets.grids import Grid, Group, Point
from assets.partitions import BY_STUDY, Keys, of_every_experiment
from assets.ports import Lake, Partition, Tracker, Version
from assets.predictions import POLICY_OF
from assets.publication import Check, Content, Inputs, check_specs, publish
from assets.standing import what_changed
from training.config import PreferenceExperiment

SELECTED_ON = "validation"


@dataclass(frozen=True)
class Choice:
    """Which candidate of a group is run on, and the numbers that decided."""

    group: Group
    values: Mapping[str, float]
    """Key of each measured candidate → its mean on validation."""

    @property
    def best(self) -> Point | None:
        """The best candidate, the first of equal ones; None while none is measured."""
        measured = [point for point in self.group.candidates if point.key in self.values]
        return max(measured, key=lambda point: self.values[point.key], default=None)


@dataclass(frozen=True)
class Progress:
    """How far a study is."""

    choices: Sequence[Choice]
    asked: Sequence[Point]
    """What it is about, as far as the choices are made."""
    measured: Sequence[Point]
    """Of those, the ones whose metrics are those of the files and tables as they are."""


def progress(lake: Lake, dataset: str, grid: Grid) -> Progress:
    """What the lake holds of a study on one data set."""
    choices = [choice(lake, dataset, grid, group) for group in grid.groups()]
    asked = grid.asked([made.best for made in choices if made.best is not None])
    return Progress(choices, asked, [point for point in asked if _metrics_of(lake, dataset, point) is not None])


def choice(lake: Lake, dataset: str, grid: Grid, group: Group) -> Choice:
    """What the measured candidates of a group are worth on validation rows."""
    select = grid.study.select
    assert select is not None  # otherwise there is no group
    measured = {point.key: _metrics_of(lake, dataset, point) for point in group.candidates}
    return Choice(group, {key: _mean(version, select.by) for key, version in measured.items() if version is not None})


def _metrics_of(lake: Lake, dataset: str, point: Point) -> Version | None:
    version = lake.current("metrics", (dataset, point.key))
    return version if version is not None and what_changed(lake, version) is None else None


def _mean(metrics: Version, metric: str) -> float:
    rows = metrics.scan().filter(pl.col("split") == SELECTED_ON, pl.col("metric") == metric)
    return float(rows.select(pl.col("value").mean()).collect().item())


@dg.asset(
    deps=[of_every_experiment(asset) for asset in ("metrics", "preference_policies", "sft_policies")],
    partitions_def=BY_STUDY,
    group_name="evaluation",
    kinds={"polars", "mlflow"},
    owners=["team:evaluation"],
    code_version="1",
    check_specs=check_specs("study_reports", "every_experiment_is_measured"),
)
def study_reports(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], tracker: dg.ResourceParam[Tracker]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """One question, one page: figures with intervals, paired tests, what was selected, and what sharing saved.

    Of the experiments of `studies/<study>.yaml` those that are measured are shown, the others are named.
    """
    by_dimension = context.partition_key.keys_by_dimension  # type: ignore[attr-defined]
    dataset, name = by_dimension["dataset"], by_dimension["study"]
    grid = load_study(name)
    now = progress(lake, dataset, grid)
    if not now.measured:
        raise dg.Failure(
            f"study_reports of {dataset}|{name} must have at least one measured experiment, got none. "
            f"Run: borderline study {name} --dataset {dataset}",
            allow_retries=False,
        )
    starts = _starts(now.measured)
    shown = [*(Keys(dataset, start) for start in starts), *(Keys(dataset, point.key) for point in now.measured)]
    missing = [point.key for point in now.asked if point not in now.measured]

    def report(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        folder = staged["study_reports"]
        measured = {version.partition[1]: version for version in inputs.all("metrics")}
        rows = [{**grid.shown(point), **_means(measured[point.key])} for point in now.measured]
        table = _markdown(rows)
        (folder / "report.md").write_text(table, encoding="utf-8")
        (folder / "report.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
        check = Check(
            "every_experiment_is_measured", not missing, {"missing": ", ".join(missing) or "none"}, blocks=False
        )
        return {"study_reports": Content(metadata={"report": dg.MetadataValue.md(table)}, checks=[check])}

    yield from publish(
        context,
        lake,
        report,
        partition=(dataset, name),
        inputs=[*(("metrics", keys) for keys in shown), *(_policy_of(keys) for keys in shown)],
        config={"study": grid.study.model_dump(mode="json")},
    )


def _starts(points: Sequence[Point]) -> list[str]:
    """The experiments that these start from, each once."""
    experiments = [load_experiment(point.key) for point in points]
    return list(dict.fromkeys(e.start_from for e in experiments if isinstance(e, PreferenceExperiment)))


def _policy_of(keys: Keys) -> tuple[str, Partition]:
    return POLICY_OF[load_experiment(keys.experiment).kind], keys


def _means(metrics: Version) -> dict[str, float]:
    test = metrics.table().filter(pl.col("split") == "test").group_by("metric").agg(pl.col("value").mean())
    return dict(sorted(test.iter_rows()))


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0])
    cells = [[f"{row[n]:.4f}" if isinstance(row[n], float) else row[n] for n in names] for row in rows]
    lines = [names, ["---"] * len(names), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
