"""Which part of a study a person asks for, and whether its data set can be studied at all. Runs nothing."""

from collections.abc import Callable, Mapping, Sequence

from contracts.config.study import Grid, Point
from contracts.files.experiments import listed_candidates
from contracts.files.load import load_dataset, load_experiment
from contracts.files.yaml_lines import ConfigurationError

Only = Mapping[str, Sequence[str]]
"""Axis → labels that are wanted; axes that are not named are wanted whole."""


def wanted(grid: Grid, name: str, only: Only) -> Callable[[Point], bool]:
    """A function that says whether a point of the study is asked for.

    Raises:
        ConfigurationError: no such axis, or no such label of it.
    """
    axes = grid.axes()
    for axis, labels in only.items():
        if axis not in axes:
            raise ConfigurationError(f"'{axis}' must be an axis of the study {name}. Accepted: {', '.join(axes)}.")
        if not labels:
            raise ConfigurationError(
                f"at least one label of the axis {axis} of the study {name} must be named, got none. "
                f"Accepted: {', '.join(axes[axis])}."
            )
        unknown = [label for label in labels if label not in axes[axis]]
        if unknown:
            raise ConfigurationError(
                f"'{', '.join(unknown)}' must be labels of the axis {axis} of the study {name}. "
                f"Accepted: {', '.join(axes[axis])}."
            )
    return lambda point: all(point.labels[axis] in labels for axis, labels in only.items())


def asked_parts(only: Sequence[str]) -> dict[str, list[str]]:
    """Parse what a person wrote, `negatives=k1,k15`, into axis → labels.

    Raises:
        ConfigurationError: no `=`, or the same axis twice, one of which would be lost.
    """
    asked: dict[str, list[str]] = {}
    for axis, labels in map(_axis, only):
        if axis in asked:
            raise ConfigurationError(
                f"--only must name an axis once, got {axis} twice (--seeds is --only seed=…). "
                f"Write: --only {axis}={','.join([*asked[axis], *labels])}"
            )
        asked[axis] = labels
    return asked


def _axis(text: str) -> tuple[str, list[str]]:
    axis, is_given, labels = text.partition("=")
    if not is_given:
        raise ConfigurationError(f"--only must be AXIS=LABEL,LABEL, got '{text}'. Write: --only negatives=k1,k15")
    return axis.strip(), [label.strip() for label in labels.split(",") if label.strip()]


def refuse_unmeasured(grid: Grid, name: str, dataset: str) -> None:
    """Refuse a study that selects by a metric that its data set does not have, before its candidates are trained.

    Raises:
        ConfigurationError: the candidate sets have another size, or it wants a rank in the catalogue of a policy
            that ranks candidates only.
    """
    select, candidates = grid.study.select, load_dataset(dataset).candidates
    if select is not None and select.by.endswith("_full"):
        listing = next((key for key in grid.points if listed_candidates(load_experiment(key)) is not None), None)
        if listing is not None:
            raise ConfigurationError(
                f"{name} selects by {select.by}, but the prompts of {listing} list candidates, and it "
                "ranks nothing else. Write select.by: hit_ratio_at_1_of_20."
            )
    if select is None or candidates.draw == "published" or not select.by.endswith("_of_20") or candidates.n == 20:
        return
    raise ConfigurationError(
        f"{name} selects by {select.by}, but a candidate set of {dataset} holds {candidates.n} items. Write "
        f"select.by: ndcg_at_10_full, or candidates: {{n: 20}} in datasets/{dataset}.yaml."
    )
