"""A study of published benchmarks, as its file says it: on which data sets, with which experiments, beside what."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.config import Frozen
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
    """Its tables leak their answers: it runs with --accept-leaks alone, and every number of ours is marked."""
    same_rows_as: str | None = None
    """A data set of this study that differs in its candidate lists alone: what the lists are worth is reported."""
    published: tuple[PublishedNumbers, ...] = ()


class PublishedStudy(Frozen):
    """Ordinary experiments on data sets that others report on."""

    kind: Literal["published"]
    question: Annotated[str, Field(min_length=1)]
    sources: dict[str, str]
    """Short name → where the numbers stand."""
    benchmarks: Annotated[dict[str, Benchmark], Field(min_length=1)]
    """By data set, a file in datasets/."""


def mistakes(study: PublishedStudy) -> list[str]:
    """What is wrong with a study beyond its types, each a sentence that begins with a place in its file."""
    found: list[str] = []
    for dataset, benchmark in study.benchmarks.items():
        unknown = sorted({each.source for each in benchmark.published} - study.sources.keys())
        if unknown:
            known = ", ".join(study.sources) or "none"
            found.append(f"benchmarks.{dataset}.published: source must be one of {known}, got {unknown[0]}.")
        if benchmark.same_rows_as is not None and benchmark.same_rows_as not in study.benchmarks:
            known = ", ".join(study.benchmarks)
            found.append(
                f"benchmarks.{dataset}.same_rows_as must be another data set of the study ({known}), got "
                f"{benchmark.same_rows_as}."
            )
    return found
