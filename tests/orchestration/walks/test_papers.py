"""A walk over published benchmarks accepts leaks where its file says that there are some, and in its report."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from contracts.files.load import load_published
from contracts.files.yaml_lines import ConfigurationError
from contracts.words import ACCEPT_LEAKS_TAG
from orchestration.walks.papers import walk_benchmarks, walk_papers

STUDY = """\
kind: published
question: How good?
sources: {Paper: somewhere}
benchmarks:
  leaky: {leaky: true, experiments: [popularity]}
  fair: {experiments: [popularity]}
"""


class Tracker:
    """That answers."""

    def prepare(self, dataset: str) -> None:
        pass


@dataclass(frozen=True)
class Runner:
    """Remembers for every layer whether it accepted leaks."""

    asked: list[tuple[str, str, bool]]
    said: list[str]
    tags: Mapping[str, str] = field(default_factory=dict)
    tracker: Tracker = field(default_factory=Tracker)

    def say(self, text: str) -> None:
        self.said.append(text)

    def tagged(self, tags: Mapping[str, str]) -> "Runner":
        return replace(self, tags={**self.tags, **tags})

    def layer(self, job: str, dataset: str, experiment: str | None = None, *, mines: bool = True) -> None:
        self.asked.append((job, dataset, self.tags.get(ACCEPT_LEAKS_TAG) == "true"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    monkeypatch.setenv("BORDERLINE_RAW", str(tmp_path / "raw"))
    texts = {"studies/papers.yaml": STUDY}
    for floor in ("popularity", "random"):
        texts[f"experiments/{floor}.yaml"] = f"kind: baseline\nbaseline: {floor}\n"
    for name in ("leaky", "fair"):
        texts[f"datasets/{name}.yaml"] = "source: {kind: movielens, release: 100k}\n"
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def walked(monkeypatch: pytest.MonkeyPatch, *, accept_leaks: bool) -> tuple[list[tuple[str, str, bool]], list[str]]:
    monkeypatch.setattr("orchestration.walks.papers.located", lambda source, folder: None)
    runner = Runner([], [])
    there: Any = runner
    walk_benchmarks(there, "papers", load_published("papers").benchmarks, accept_leaks=accept_leaks)
    return runner.asked, runner.said


def test_leaks_are_accepted_on_leaky_data_and_in_the_report_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, _ = walked(monkeypatch, accept_leaks=True)
    accepted = {(job, dataset): leaks for job, dataset, leaks in asked}
    assert accepted[("ingest", "leaky")]
    assert not accepted[("ingest", "fair")]
    assert accepted[("report_published", "papers")]


def test_nothing_is_accepted_unasked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, said = walked(monkeypatch, accept_leaks=False)
    assert {dataset for _, dataset, _ in asked} == {"fair", "papers"}
    assert not any(leaks for _, _, leaks in asked)
    assert "--accept-leaks" in said[0]


def test_a_data_set_that_the_study_has_not_is_refused_before_anything_runs(project: Path) -> None:
    nothing: Any = None
    with pytest.raises(ConfigurationError, match=r"got 'other'.*leaky, fair"):
        walk_papers(nothing, "papers", datasets=["other"])
