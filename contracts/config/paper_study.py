"""A study of published benchmarks, as its file says it: on which data sets, with which experiments, beside what."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.config.identity import Frozen
from contracts.config.mistakes import Place, refuse
from contracts.words import StudyMetric


class PublishedNumbers(Frozen):
    """What somebody published of one model."""

    model: Annotated[str, Field(min_length=1)]
    source: str
    """One of the study's sources."""
    metrics: Annotated[dict[StudyMetric, float], Field(min_length=1)]


class Benchmark(Frozen):
    """One data set with published numbers."""

    experiments: Annotated[list[str], Field(min_length=1)]
    """Ours, files in experiments/."""
    leaky: bool = False
    """Its tables leak their answers: it runs only with --accept-leaks, and every number of ours is marked."""
    same_rows_as: str | None = None
    """A data set of this study that differs only in its candidate lists: the report says what the lists are worth."""
    published: tuple[PublishedNumbers, ...] = ()


class PublishedStudy(Frozen):
    """Ordinary experiments on data sets that others report on."""

    kind: Literal["published"]
    question: Annotated[str, Field(min_length=1)]
    sources: dict[str, str]
    """Short name → where the numbers are printed."""
    benchmarks: Annotated[dict[str, Benchmark], Field(min_length=1)]
    """By data set, a file in datasets/."""

    @model_validator(mode="after")
    def _names_what_it_holds(self) -> Self:
        refuse(self, _mistakes(self))
        return self


def _mistakes(study: PublishedStudy) -> Iterator[tuple[Place, str]]:
    """What is wrong with a study beyond its types: the place in its file, and a sentence."""
    for dataset, benchmark in study.benchmarks.items():
        for index, each in enumerate(benchmark.published):
            if each.source not in study.sources:
                known = ", ".join(study.sources) or "none"
                said = f"benchmarks.{dataset}.published: source must be one of {known}, got {each.source}."
                yield ("benchmarks", dataset, "published", index, "source"), said
        if benchmark.same_rows_as is not None and benchmark.same_rows_as not in study.benchmarks:
            said = (
                f"benchmarks.{dataset}.same_rows_as must be another data set of the study "
                f"({', '.join(study.benchmarks)}), got {benchmark.same_rows_as}."
            )
            yield ("benchmarks", dataset, "same_rows_as"), said
