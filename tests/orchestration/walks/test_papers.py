"""A walk over published benchmarks accepts leaks where its file says that there are some, and in its report."""

from pathlib import Path
from typing import Any

import pytest

from assets.lake.leaks import ACCEPT_TAG
from orchestration.walks.papers import PublishedWalk

STUDY = """\
kind: published
question: How good?
sources: {Paper: somewhere}
benchmarks:
  leaky: {leaky: true, experiments: [popularity]}
  fair: {experiments: [popularity]}
"""


class Pipeline:
    """Remembers for every layer whether it accepted leaks."""

    def __init__(self, tags: dict[str, str]) -> None:
        self.tags, self.tracker = tags, self
        self.asked: list[tuple[str, str, bool]] = []

    def prepare(self, dataset: str) -> None:
        pass

    def layer(self, job: str, dataset: str, experiment: str | None = None, *, mines: bool = True) -> None:
        self.asked.append((job, dataset, self.tags.get(ACCEPT_TAG) == "true"))


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


def walked(tags: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[list[tuple[str, str, bool]], list[str]]:
    monkeypatch.setattr("orchestration.walks.papers.located", lambda source, folder: None)
    pipeline, said = Pipeline(tags), list[str]()
    there: Any = pipeline
    PublishedWalk(there, "papers", None, said.append).run()
    return pipeline.asked, said


def test_leaks_are_accepted_on_leaky_data_and_in_the_report_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, _ = walked({ACCEPT_TAG: "true"}, monkeypatch)
    accepted = {(job, dataset): leaks for job, dataset, leaks in asked}
    assert accepted[("ingest", "leaky")]
    assert not accepted[("ingest", "fair")]
    assert accepted[("report_published", "papers")]


def test_nothing_is_accepted_unasked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, said = walked({}, monkeypatch)
    assert {dataset for _, dataset, _ in asked} == {"fair", "papers"}
    assert not any(leaks for _, _, leaks in asked)
    assert "--accept-leaks" in said[0]
