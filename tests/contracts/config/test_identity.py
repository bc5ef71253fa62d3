"""What tells one experiment, and one policy, from another."""

from typing import Any

import pytest

from contracts.config import EXPERIMENT, Experiment, identity, policy_identity

SFT = {"kind": "sft", "optimizer": {"kind": "adamw", "lr": 3e-4}}
PREFERENCE = {**SFT, "kind": "preference", "start_from": "sft", "objective": {"kind": "dynamicpo-dmpo"}}


def read(values: dict[str, Any]) -> Experiment:
    return EXPERIMENT.validate_python(values)


def test_identities_are_those_that_homes_were_written_with() -> None:
    assert (identity(read(SFT)), policy_identity(read(SFT))) == ("f4dc15e6cfe345e6", "bd7ddf948da4db20")
    assert identity(read(PREFERENCE)) == policy_identity(read(PREFERENCE)) == "38b403c75ddabda6"


def test_a_pool_is_part_of_an_experiment_and_no_part_of_its_policy() -> None:
    plain, poolless = read(SFT), read({**SFT, "pool": None})
    assert identity(plain) != identity(poolless)
    assert policy_identity(plain) == policy_identity(poolless)


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"optimizer": {"kind": "adamw", "lr": 1e-4}}, {"budget": {"epochs": 2}}]
)
@pytest.mark.parametrize("values", [SFT, PREFERENCE])
def test_everything_else_makes_another_policy(values: dict[str, Any], changed: dict[str, Any]) -> None:
    assert policy_identity(read(values)) != policy_identity(read({**values, **changed}))


def test_a_default_that_is_written_out_changes_nothing() -> None:
    assert identity(read({**SFT, "seed": 0, "representation": {"kind": "items"}})) == identity(read(SFT))
