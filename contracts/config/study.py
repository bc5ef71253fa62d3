"""A study as a grid: what its experiments have in common, the axes along which they differ, and how each is named."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from contracts.config.identity import Frozen
from contracts.config.mistakes import Place, refuse
from contracts.words import MAIN_METRIC, StudyMetric

Settings = dict[str, Any]
"""Keys of an experiment file."""
Labels = Mapping[str, str]
"""Axis → label."""

SEED = "seed"
LONGEST = 64
"""Characters of an experiment's name, which is a folder's."""
AXIS = re.compile(r"[A-Za-z0-9_.-]+")
"""A label that --only can name and pictures show."""
LABEL = re.compile(r"[a-z0-9_.-]+")


class Selection(Frozen):
    """One more axis, of which nobody asks: its best label is found on validation, and the others are not run."""

    axis: Annotated[str, Field(min_length=1)]
    """What it is called in the report: rate."""
    among: Annotated[dict[str, Settings], Field(min_length=1)]
    """Label → what it sets; of equal ones the first is taken."""
    once_per: list[str]
    """Axes with a choice of their own for each label; all others share it."""
    at: dict[str, str]
    """Axis → label, for all other axes: where the candidates are trained, with the first seed."""
    by: StudyMetric = MAIN_METRIC
    """The metric on validation rows whose best mean decides."""


class GridStudy(Frozen):
    """Every combination of labels is one experiment; what they set is merged in the order of the file."""

    model_config = ConfigDict(ser_json_inf_nan="constants")  # so that a wrong number is told as it was written

    kind: Literal["grid"]
    question: Annotated[str, Field(min_length=1)]
    experiment: Settings
    """What all have in common."""
    axes: Annotated[dict[str, dict[str, Settings]], Field(min_length=1)]
    """Axis → label → what it sets. `{axis}` in a value is the label of that axis."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31, strict=True)]], Field(default=[0], min_length=1)]
    select: Selection | None = None

    @model_validator(mode="after")
    def _makes_a_grid(self) -> Self:
        refuse(self, _mistakes(self))
        return self


@dataclass(frozen=True)
class Point:
    """One experiment of a grid."""

    key: str
    """`<study>.<labels>-s<seed>`."""
    labels: Labels
    """Of every axis in the order of the file, the one that is selected and the seed among them."""
    settings: Settings
    """What an experiment file would say."""
    layers: tuple[Place, ...]
    """Where in the study's file its settings are, in the order in which they were merged."""


@dataclass(frozen=True)
class Group:
    """Points among which one label of the selected axis is chosen."""

    labels: Labels
    """Of the axes that have a choice of their own."""
    candidates: tuple[Point, ...]
    """In the order of the file."""


@dataclass(frozen=True)
class Grid:
    """All experiments that a study may need."""

    study: GridStudy
    points: Mapping[str, Point]
    """By key, in the order in which they are run: seed by seed, so that what is there early is a whole grid."""

    def groups(self) -> list[Group]:
        """Where a choice has to be made before the rest is known; none, if the study selects nothing."""
        select = self.study.select
        if select is None:
            return []
        place = {**select.at, SEED: str(self.study.seeds[0])}
        found: list[Group] = []
        for labels in product(*(self.study.axes[axis] for axis in select.once_per)):
            own = dict(zip(select.once_per, labels, strict=True))
            found.append(Group(own, tuple(p for p in self.points.values() if _has(p.labels, {**place, **own}))))
        return found

    def asked(self, selected: Sequence[Point]) -> list[Point]:
        """The points that the study is about, given the candidate that is best in each group.

        A group without one has no points yet.
        """
        select = self.study.select
        if select is None:
            return list(self.points.values())
        wanted = [{axis: point.labels[axis] for axis in (*select.once_per, select.axis)} for point in selected]
        return [point for point in self.points.values() if any(_has(point.labels, labels) for labels in wanted)]

    def shown(self, point: Point) -> dict[str, str]:
        """The labels of a point without that of the selected axis, which the study does not ask about."""
        hidden = self.study.select.axis if self.study.select else None
        return {axis: label for axis, label in point.labels.items() if axis != hidden}

    def axes(self) -> dict[str, list[str]]:
        """The labels of every axis that the study asks about, the seed last."""
        labels = {axis: list(of_axis) for axis, of_axis in self.study.axes.items()}
        return {**labels, SEED: [str(seed) for seed in self.study.seeds]}


def grid(name: str, study: GridStudy) -> Grid:
    """The experiments of the study whose file is `studies/<name>.yaml`.

    >>> study = GridStudy(
    ...     kind="grid",
    ...     question="?",
    ...     experiment={"kind": "preference", "objective": {"beta": 1.0}},
    ...     axes={
    ...         "base": {"dmpo": {"objective": {"kind": "dmpo"}}},
    ...         "boundary": {"plain": {}, "dynamicpo": {"objective": {"kind": "dynamicpo-{base}"}}},
    ...     },
    ... )
    >>> found = grid("collapse", study)
    >>> list(found.points)
    ['collapse.dmpo-plain-s0', 'collapse.dmpo-dynamicpo-s0']
    >>> found.points["collapse.dmpo-dynamicpo-s0"].settings["objective"]
    {'beta': 1.0, 'kind': 'dynamicpo-dmpo'}
    """
    return Grid(study, {point.key: point for point in _points(name, study)})


def _points(name: str, study: GridStudy) -> Iterator[Point]:
    axes = {axis: {label: ("axes", axis, label) for label in labels} for axis, labels in study.axes.items()}
    if study.select is not None:
        axes[study.select.axis] = {label: ("select", "among", label) for label in study.select.among}
    for index, seed in enumerate(study.seeds):
        for labels in product(*axes.values()):
            layers = (("experiment",), *(axes[axis][label] for axis, label in zip(axes, labels, strict=True)))
            by_axis = {**dict(zip(axes, labels, strict=True)), SEED: str(seed)}
            settings = {**_filled(reduce(_merged, (_at(study, layer) for layer in layers), {}), by_axis), "seed": seed}
            yield Point(f"{name}.{'-'.join(labels)}-s{seed}", by_axis, settings, (*layers, ("seeds", index)))


def _at(study: GridStudy, place: Place) -> Settings:
    match place:
        case ("axes", axis, label):
            return study.axes[str(axis)][str(label)]
        case ("select", _, label) if study.select is not None:
            return study.select.among[str(label)]
        case _:
            return study.experiment


def _merged(under: Settings, over: Settings) -> Settings:
    result = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result


def _filled(value: Any, labels: Labels) -> Any:
    """The value with `{axis}` replaced by the label; other braces stay as they are."""
    if isinstance(value, dict):
        return {key: _filled(inner, labels) for key, inner in value.items()}
    if isinstance(value, str):
        return reduce(lambda text, axis: text.replace(f"{{{axis}}}", labels[axis]), labels, value)
    return value


def _has(labels: Labels, wanted: Labels) -> bool:
    return all(labels[axis] == label for axis, label in wanted.items())


def name_mistakes(name: str, study: GridStudy) -> Iterator[tuple[Place, str]]:
    """The first experiment that its name does not tell from another, or that no folder may be called after."""
    seen: set[str] = set()
    for point in _points(name, study):
        last = point.layers[-2]
        if len(point.key) > LONGEST:
            said = (
                f"the name of an experiment must be at most {LONGEST} characters, got '{point.key}'. Shorten a label."
            )
            yield last, said
            return
        if point.key in seen:
            yield last, f"two experiments would be called '{point.key}'. Change a label."
            return
        seen.add(point.key)


def _mistakes(study: GridStudy) -> Iterator[tuple[Place, str]]:
    """What is wrong with a study beyond its types: the place in its file, and a sentence."""
    if SEED in study.experiment:
        yield ("experiment", SEED), "experiment must not say its seed, got one. Write it under 'seeds'."
    if SEED in study.axes:
        yield ("axes", SEED), "axes must not hold 'seed', got one. Write its values under 'seeds'."
    yield from _label_mistakes(study)
    if len(set(study.seeds)) < len(study.seeds):
        yield ("seeds",), f"seeds must differ, got {study.seeds}."
    if study.select is not None:
        yield from _selection_mistakes(study, study.select)


def _label_mistakes(study: GridStudy) -> Iterator[tuple[Place, str]]:
    for axis, labels in study.axes.items():
        if not AXIS.fullmatch(axis):
            yield ("axes", axis), f"an axis must be of letters, digits, '.', '_' and '-', got '{axis}'. Rename it."
        if not labels:
            yield ("axes", axis), f"axes.{axis} must hold at least one label, got none."
    places: list[Place] = [("axes", axis, label) for axis, labels in study.axes.items() for label in labels]
    if study.select is not None:
        places += [("select", "among", label) for label in study.select.among]
    for place in places:
        if not LABEL.fullmatch(str(place[-1])):
            yield place, f"a label must be of a-z, 0-9, '.', '_' and '-', got '{place[-1]}'. Rename it."


def _selection_mistakes(study: GridStudy, select: Selection) -> Iterator[tuple[Place, str]]:
    known = ", ".join(study.axes)
    if len(set(select.once_per)) < len(select.once_per):
        yield ("select", "once_per"), f"select.once_per must name an axis once, got {select.once_per}."
    if select.axis in (*study.axes, SEED):
        yield ("select", "axis"), f"select.axis must be a name that no axis has, got '{select.axis}'."
    for axis in (*select.once_per, *select.at):
        if axis not in study.axes:
            place = ("select", "at", axis) if axis in select.at else ("select", "once_per")
            yield place, f"select must name axes of the study, got '{axis}'. Accepted: {known}."
    for axis, labels in study.axes.items():
        named = (axis in select.once_per) + (axis in select.at)
        if named != 1:
            got = "both" if named else "neither"
            yield ("select",), f"select must name axis '{axis}' in either once_per or at, got {got}."
        elif axis in select.at and select.at[axis] not in labels:
            accepted = ", ".join(labels)
            yield (
                ("select", "at", axis),
                f"unknown label '{select.at[axis]}' of axis '{axis}'. Accepted: {accepted}.",
            )
