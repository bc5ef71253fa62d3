"""Objectives as an experiment file states them: defaults, domains, and what the training loop asks of them."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from contracts.config import Objective

OBJECTIVE: TypeAdapter[Objective] = TypeAdapter(Objective)


def read(**values: Any) -> Objective:
    return OBJECTIVE.validate_python(values)


def test_hyperparameters_are_everything_but_the_kind() -> None:
    assert read(kind="cpo").hyperparameters == {"beta": 0.1, "nll_weight": 1.0}
    assert read(kind="dynamicpo-dmpo", margin=2).hyperparameters == {
        "beta": 1.0,
        "nll_weight": 0.0,
        "margin": 2.0,
        "clusters": 3,
        "scale": 0.5,
        "selection": True,
        "weighting": True,
        "selection_score": "policy_logp",
    }


@pytest.mark.parametrize("base", ["cpo", "simpo", "ipo", "orpo", "lpo", "rpo", "mppo", "mcpo"])
def test_dynamicpo_keeps_the_defaults_of_its_base(base: str) -> None:
    around, alone = read(kind=f"dynamicpo-{base}").hyperparameters, read(kind=base).hyperparameters
    assert {name: around[name] for name in alone} == alone


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        ({"kind": "dpo", "beta": 0}, "greater than 0"),
        ({"kind": "dpo", "beta": -1}, "greater than 0"),
        ({"kind": "dpo", "beta": 1000}, "less than or equal to 100"),
        ({"kind": "dpo", "beta": float("nan")}, "finite number"),
        ({"kind": "sdpo", "nll_weight": -0.1}, "greater than or equal to 0"),
        ({"kind": "simpo", "gamma": -1}, "greater than or equal to 0"),
        ({"kind": "lpo", "chosen_weight": 0}, "greater than 0"),
        ({"kind": "lpo", "positive_weight": float("inf")}, "finite number"),
        ({"kind": "mcpo", "temperature": 0}, "greater than 0"),
        ({"kind": "mcpo", "score": "reward"}, "'implicit_reward' or 'policy_logp'"),
        ({"kind": "mppo", "probability": "mean"}, "'geometric_mean' or 'joint'"),
        ({"kind": "dynamicpo-dmpo", "margin": -1}, "greater than or equal to 0"),
        ({"kind": "dynamicpo-dmpo", "clusters": 1}, "greater than or equal to 2"),
        ({"kind": "dynamicpo-dmpo", "scale": 1}, "less than 1"),
        ({"kind": "dynamicpo-dmpo", "selection_score": "reward"}, "'policy_logp' or 'log_ratio'"),
        ({"kind": "dpo", "margin": 6}, "Extra inputs are not permitted"),
        ({"kind": "dynamicpo-bpr"}, "does not match any of the expected tags"),
    ],
)
def test_values_outside_the_domain_are_refused_with_the_accepted_range(values: dict[str, Any], accepted: str) -> None:
    with pytest.raises(ValidationError, match=accepted):
        read(**values)


def test_only_objectives_that_draw_need_a_generator() -> None:
    assert read(kind="mcpo").needs_generator
    assert read(kind="dynamicpo-mcpo").needs_generator
    assert not read(kind="dynamicpo-dmpo").needs_generator
