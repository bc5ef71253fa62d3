"""What an experiment asks of the one that it starts from: refused before anything is trained."""

from pathlib import Path
from typing import Any

import pytest

from contracts.config import PreferenceExperiment, SftExperiment
from contracts.files.cross_checks import refuse_contradictions, refuse_unpinned
from contracts.files.yaml_lines import ConfigurationError

OPTIMIZER = {"kind": "adamw", "lr": 3e-4}
LISTING = {
    "representation": {"kind": "titles", "prompt": "{history}, of {candidates}:", "candidates": {"n": 20}},
    "budget": {"select_by": "mrr_of_20"},
    "pool": {"scored": 19, "hard": 0, "uniform": 19},
}


def start(**fields: Any) -> SftExperiment:
    """An experiment whose pool holds 20 hard and 20 uniform negatives, unless `fields` say otherwise."""
    return SftExperiment.model_validate({"kind": "sft", "optimizer": OPTIMIZER, **fields})


def check(negatives: dict[str, Any], of: SftExperiment | None = None, key: str = "mine", **fields: Any) -> None:
    values = {"kind": "preference", "start_from": "sft", "objective": {"kind": "dmpo"}, "optimizer": OPTIMIZER}
    experiment = PreferenceExperiment.model_validate({**values, "negatives": negatives, **fields})
    refuse_contradictions(key, experiment, of or start(), lambda *place: f"file:{'.'.join(place)}")


@pytest.mark.parametrize(
    ("negatives", "said"),
    [
        (
            {"n": 21, "miner": "hardest"},
            "the 20 hard negatives the pool of sft holds, got 21. Lower n, or raise pool",
        ),
        ({"n": 16, "miner": "hardest", "min_rank": 6}, "got 21, 5 of them to be passed over by min_rank. Lower n, or"),
        ({"n": 21, "miner": "uniform", "min_rank": 6}, "the 20 uniform negatives the pool of sft holds, got 21. Lower"),
        ({"n": 20, "miner": "uniform", "min_rank": 22}, "got 21, 1 of them to be passed over by min_rank. Lower n,"),
        (
            {"n": 15, "miner": "mixed", "min_rank": 14},
            "the 20 hard negatives the pool of sft holds, got 21, 13 of the",
        ),
        ({"n": 1, "miner": "popularity"}, "the 0 popularity negatives the pool of sft holds, got 1. Lower n, or raise"),
        (
            {"n": 3, "miner": "in_batch"},
            "the 0 in_batch negatives the pool of sft holds, got 3. Lower n, or raise poo",
        ),
        ({"n": 41, "miner": "boundary"}, "the 40 boundary negatives the pool of sft holds, got 41. Lower n, or raise "),
    ],
)
def test_a_pool_too_small_for_the_negatives_is_refused(negatives: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        check(negatives)
    assert str(refusal.value).startswith("file:negatives.n: ")
    assert said in str(refusal.value)
    assert "in experiments/sft.yaml" in str(refusal.value)


@pytest.mark.parametrize(
    "negatives",
    [
        {"n": 15, "miner": "hardest", "min_rank": 6},
        {"n": 20, "miner": "uniform", "min_rank": 21},
        {"n": 40, "miner": "boundary"},
    ],
)
def test_a_pool_that_just_suffices_is_accepted(negatives: dict[str, Any]) -> None:
    check(negatives)


def test_nothing_starts_from_an_experiment_that_mines_no_negatives() -> None:
    with pytest.raises(ConfigurationError, match=r"^file:start_from: .* whose pool is null"):
        check({}, start(pool=None))


def test_the_metric_that_selects_is_one_of_what_the_policy_ranks() -> None:
    listing = start(**LISTING)
    with pytest.raises(ConfigurationError, match=r"^file:budget\.select_by: .*mrr_of_20"):
        check({"n": 5, "miner": "uniform"}, listing)
    check({"n": 5, "miner": "uniform"}, listing, budget={"select_by": "mrr_of_20"})
    with pytest.raises(ConfigurationError, match=r"^file:budget\.select_by: .*ndcg_at_10_full"):
        check({"n": 5, "miner": "uniform"}, budget={"select_by": "mrr_of_20"})


def test_rounds_have_names_that_a_folder_may_have() -> None:
    check({"rounds": 2}, key="a" * 56)  # 64 characters with .round-0
    with pytest.raises(ConfigurationError, match=r"^file:negatives\.rounds: .*by 1\.$"):
        check({"rounds": 2}, key="a" * 57)
    check({"rounds": 1}, key="a" * 57)


def test_a_base_model_of_the_hub_is_pinned_and_a_folder_is_not(tmp_path: Path) -> None:
    def place(*keys: str) -> str:
        return f"file:{'.'.join(keys)}"

    named = {"kind": "checkpoint", "name": "some/repository"}
    with pytest.raises(ConfigurationError, match=r"^file:backbone: backbone\.revision must be the 40-digit commit"):
        refuse_unpinned(start(backbone=named), place)
    refuse_unpinned(start(backbone={**named, "revision": "a" * 40}), place)
    refuse_unpinned(start(backbone={**named, "name": str(tmp_path)}), place)
    refuse_unpinned(start(), place)
