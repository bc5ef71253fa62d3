"""What a walk of a study does when an experiment fails, and what it says on its way."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.results.study_progress import Choice
from contracts.config.study import Grid, Group
from contracts.files.load import load_study
from contracts.files.yaml_lines import ConfigurationError
from orchestration.resources.mlflow_runs import MlflowTracker
from orchestration.walks import study as studies
from orchestration.walks.runner import LayerFailed, LayerRefused
from orchestration.walks.study import StudyWalk
from orchestration.walks.study_parts import refuse_unmeasured, wanted

STUDY = """\
kind: grid
question: Which?
experiment: {kind: preference, start_from: sft, optimizer: {kind: adamw}}
axes:
  base:
    dmpo: {objective: {kind: dmpo}}
    sdpo: {objective: {kind: sdpo}}
seeds: [0, 1]
select:
  axis: rate
  once_per: [base]
  at: {}
  among:
    low: {optimizer: {lr: 1.0e-5}}
    high: {optimizer: {lr: 1.0e-3}}
"""


class Lake:
    def current(self, asset: str, partition: tuple[str, ...]) -> None:
        return None


class Jobs:
    """A runner that remembers what it was asked for, and fails where it is told to."""

    def __init__(self, fails: dict[str, Exception], say: Callable[[str], None]) -> None:
        self.say = say
        self.fails, self.asked = fails, list[tuple[str, str | None]]()
        self.instance, self.lake, self.mined = dg.DagsterInstance.ephemeral(), Lake(), list[str]()

    def layer(
        self, job: str, dataset: str, experiment: str | None = None, *, study: str | None = None, mines: bool = False
    ) -> None:
        if mines:
            self.mined.append(f"{experiment}")
        self.asked.append((job, experiment or study))
        if job == "report" and "report" in self.fails:
            raise self.fails["report"]
        if job == "train_preference" and experiment in self.fails:
            raise self.fails[experiment]


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[StudyWalk, Jobs, list[str]]]:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "sft.yaml").write_text("kind: sft\noptimizer: {kind: adamw, lr: 1.0e-3}\n")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mine.yaml").write_text(STUDY)
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))

    def made(
        finished: frozenset[str] = frozenset(), only: Any = None, **fails: Exception
    ) -> tuple[StudyWalk, Jobs, list[str]]:
        said = list[str]()
        failing = {name.replace("_", "-").replace("mine-", "mine."): error for name, error in fails.items()}
        jobs, grid = Jobs(failing, said.append), load_study("mine")
        runner: Any = jobs
        one = StudyWalk(runner, "mine", "shop", grid, wanted(grid, "mine", only or {}))

        def choice(_lake: Any, _dataset: str, _grid: Grid, group: Group) -> Choice:
            values = {"low": 0.2, "high": 0.3}
            measured = [point for point in group.candidates if point.key not in one.failed]
            return Choice(group, {point.key: values[point.labels["rate"]] for point in measured})

        monkeypatch.setattr(studies, "choice", choice)
        monkeypatch.setattr(studies, "is_measured", lambda _lake, _dataset, point: point.key in finished)
        return one, jobs, said

    return made


def trained(jobs: Jobs) -> list[str | None]:
    return [name for job, name in jobs.asked if job == "train_preference"]


def test_what_is_shared_comes_first_then_the_candidates_then_the_rest_then_the_report(walk: Any) -> None:
    one, jobs, _ = walk()
    one.run()
    assert jobs.asked[:3] == [("ingest", None), ("train_sft", "sft"), ("evaluate", "sft")]
    assert jobs.mined == ["sft"]  # nothing starts from an experiment of the study
    assert trained(jobs) == [
        "mine.dmpo-low-s0", "mine.dmpo-high-s0", "mine.sdpo-low-s0", "mine.sdpo-high-s0",
        "mine.dmpo-high-s1", "mine.sdpo-high-s1",
    ]  # fmt: skip
    assert jobs.asked[-1] == ("report", "mine")


def test_an_experiment_that_fails_does_not_stop_the_others_and_is_named_at_the_end(walk: Any) -> None:
    one, jobs, said = walk(mine_dmpo_high_s0=LayerFailed("loss must be finite, got nan"))
    with pytest.raises(
        LayerFailed, match=r"mine\.dmpo-high-s0 failed; the report is about the rest. loss must be finite"
    ):
        one.run()
    assert "mine.dmpo-low-s1" in trained(jobs)  # of the candidates that are left, the best one
    assert "mine.dmpo-high-s1" not in trained(jobs)
    assert jobs.asked[-1] == ("report", "mine")
    assert any("mine.dmpo-high-s0 failed, the study goes on" in line for line in said)


def test_where_nothing_can_be_reported_the_first_failure_is_what_is_said(walk: Any) -> None:
    failed = LayerFailed("loss must be finite, got nan")
    one, jobs, _ = walk(
        only={"seed": ["0"]},
        report=LayerFailed("at least one measured experiment, got none"),
        **{f"mine_{base}_{rate}_s0": failed for base in ("dmpo", "sdpo") for rate in ("low", "high")},
    )
    with pytest.raises(LayerFailed) as ended:
        one.run()
    first, second = str(ended.value).splitlines()
    assert first == (
        "mine.dmpo-low-s0 failed (3 others failed too), and there is no report. loss must be finite, got nan"
    )
    assert second == "at least one measured experiment, got none"
    assert jobs.asked[-1] == ("report", "mine")


@pytest.mark.parametrize(
    ("n", "by", "is_refused"), [(10, "mrr_of_20", True), (10, None, False), (20, "mrr_of_20", False)]
)
def test_a_metric_that_the_data_set_has_not_is_refused_before_it_is_trained_for(
    walk: Any, tmp_path: Path, n: int, by: str | None, is_refused: bool
) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "shop.yaml").write_text(f"source: {{kind: demo}}\ncandidates: {{n: {n}}}\n")
    if by is not None:
        (tmp_path / "studies" / "mine.yaml").write_text(STUDY.replace("  at: {}", f"  at: {{}}\n  by: {by}"))
    if not is_refused:
        refuse_unmeasured(load_study("mine"), "mine", "shop")
        return
    with pytest.raises(
        ConfigurationError, match="mine selects by mrr_of_20, but a candidate set of shop holds 10 items"
    ):
        refuse_unmeasured(load_study("mine"), "mine", "shop")


def test_nothing_that_ranks_candidates_alone_is_selected_by_its_rank_in_the_catalogue(
    walk: Any, tmp_path: Path
) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "shop.yaml").write_text("source: {kind: demo}\n")
    listing = Path(__file__).parents[3] / "experiments" / "sft-titles-candidates.yaml"
    (tmp_path / "experiments" / "sft.yaml").write_text(listing.read_text(encoding="utf-8"), encoding="utf-8")
    some = "negatives: {n: 5, miner: uniform}, budget: {select_by: mrr_of_20}"
    study = STUDY.replace("optimizer: {kind: adamw}}", f"optimizer: {{kind: adamw}}, {some}}}")
    (tmp_path / "studies" / "mine.yaml").write_text(study)
    with pytest.raises(ConfigurationError, match=r"by ndcg_at_10_full, but the prompts of mine\.\S+ list candidates"):
        refuse_unmeasured(load_study("mine"), "mine", "shop")
    (tmp_path / "studies" / "mine.yaml").write_text(study.replace("  at: {}", "  at: {}\n  by: mrr_of_20"))
    refuse_unmeasured(load_study("mine"), "mine", "shop")


def test_a_refusal_stops_the_study_at_once(walk: Any) -> None:
    one, jobs, _ = walk(mine_dmpo_low_s0=LayerRefused("write it otherwise"))
    with pytest.raises(LayerRefused):
        one.run()
    assert trained(jobs) == ["mine.dmpo-low-s0"]
    assert ("report", "mine") not in jobs.asked


def test_the_time_left_is_that_of_what_is_not_finished(walk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(StudyWalk, "_version", lambda self, point: str(next(clock)))  # published anew each time
    one, _, said = walk(finished=frozenset({"mine.sdpo-low-s0", "mine.sdpo-high-s0"}))
    one.run()
    places = [line for line in said if "experiment" in line]
    assert [re.search(r"experiment (\d of \d)", line)[1] for line in places] == [f"{n} of 6" for n in range(1, 7)]  # type: ignore[index]
    assert places[1].endswith(": 20 s each, about 60 s left")  # itself and two of the second seed


def test_a_part_runs_the_candidates_that_it_needs_alone(walk: Any) -> None:
    one, jobs, said = walk(only={"base": ["sdpo"], "seed": ["1"]})
    one.run()
    assert trained(jobs) == ["mine.sdpo-low-s0", "mine.sdpo-high-s0", "mine.sdpo-high-s1"]
    assert "experiment 1 of 3" in said[0]


@pytest.mark.slow
def test_a_study_is_one_tracked_run_however_often_it_goes_on(tmp_path: Path) -> None:
    tracker = MlflowTracker(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", artifact_root=tmp_path.as_uri())
    ended: list[tuple[str, str]] = []
    for error in (None, ValueError("it failed"), KeyboardInterrupt(), None):
        try:
            with tracker.study("shop", "mine", "Which?") as run:
                assert tracker.client().get_run(run.run_id).info.status == "RUNNING"
                if error is not None:
                    raise error
        except (ValueError, KeyboardInterrupt):
            pass
        ended.append((run.run_id, tracker.client().get_run(run.run_id).info.status))
    assert [status for _, status in ended] == ["FINISHED", "FAILED", "KILLED", "FINISHED"]
    assert len({run_id for run_id, _ in ended}) == 1
    with tracker.study("shop", "other", "Which?") as other:
        assert other.run_id != ended[0][0]
