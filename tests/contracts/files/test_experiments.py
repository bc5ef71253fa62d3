"""Rounds, starts, and what `all` means: what follows from experiment files that are read together."""

from collections.abc import Callable
from pathlib import Path

from contracts.config import BaselineExperiment
from contracts.files.experiments import (
    default_experiments,
    definition,
    experiment_partitions,
    is_servable,
    listed_candidates,
    previous_round,
    rounds_to,
)
from contracts.files.load import load_experiment
from contracts.files.names import experiment_keys, source_of

Write = Callable[..., None]

GOOD = """\
kind: preference
start_from: sft
objective: {kind: dynamicpo-dmpo, beta: 1.0, margin: 6.0}
negatives: {n: 15, miner: mixed}
optimizer: {kind: adamw, lr: 3.0e-4}
seed: 0
"""
THREE = GOOD.replace("miner: mixed}", "miner: mixed, rounds: 3}")
LISTED = GOOD.replace("start_from: sft", "start_from: sft-titles-candidates").replace("mixed", "uniform")
LISTED += "budget: {select_by: mrr_of_20}\n"


def test_floors_are_those_that_ignore_the_user() -> None:
    baselines = {name: load_experiment(name) for name in experiment_keys()}
    floors = {name for name, found in baselines.items() if isinstance(found, BaselineExperiment) and found.ignores_user}
    assert floors == {"popularity", "recent-popularity", "random", "slot", "shared-list"}
    assert {"item-knn", "als", "bpr", "item-cooccurrence"} <= set(baselines)


def test_all_means_what_fits_any_data_set(project: Path) -> None:
    found = default_experiments()
    assert {"sft", "dmpo-k15", "popularity", "item-knn"} <= set(found)
    assert not {"sft-titles", "sft-semantic-ids", "sdpo-k15-titles", "sasrec-ce"} & set(found)


def test_a_round_is_the_experiment_with_as_many_rounds_as_came_to_pass(write: Write) -> None:
    write(THREE)
    assert rounds_to("mine") == ["mine.round-0", "mine.round-1", "mine"]
    assert rounds_to("mine.round-1") == ["mine.round-0", "mine.round-1"]
    assert [previous_round(key) for key in rounds_to("mine")] == [None, "mine.round-0", "mine.round-1"]
    write(GOOD, key="once")
    assert (rounds_to("once"), previous_round("once")) == (["once"], None)
    assert load_experiment("mine.round-0") == load_experiment("once")
    assert definition("mine.round-0") == definition("once")
    assert len({definition(key) for key in rounds_to("mine")}) == 3
    assert previous_round("popularity") is None
    assert source_of("mine.round-0") == source_of("mine")


def test_one_more_round_changes_none_of_those_before(write: Write) -> None:
    write(THREE)
    before = {key: definition(key) for key in rounds_to("mine")}
    write(THREE.replace("rounds: 3", "rounds: 4"))
    after = {key: definition(key) for key in rounds_to("mine")}
    assert after["mine.round-2"] == before["mine"]
    assert {key: after[key] for key in ("mine.round-0", "mine.round-1")} == {
        key: before[key] for key in ("mine.round-0", "mine.round-1")
    }


def test_rounds_are_partitions_and_not_among_all_experiments(write: Write, project: Path) -> None:
    write(THREE)
    write("kind: [", key="broken")
    found = experiment_partitions()
    assert {"mine", "mine.round-0", "mine.round-1", "broken", "sft"} <= set(found)
    assert "mine.round-2" not in found
    (project / "experiments" / "broken.yaml").unlink()
    assert "mine" not in default_experiments()


def test_the_negatives_of_an_experiment_depend_on_the_pool_of_its_start_and_its_start_does_not(write: Write) -> None:
    write("kind: sft\noptimizer: {kind: adamw, lr: 3.0e-4}\n", key="start")
    write(GOOD.replace("start_from: sft", "start_from: start"))
    before = definition("start"), definition("mine")
    write("kind: sft\noptimizer: {kind: adamw, lr: 3.0e-4}\npool: {uniform: 30}\n", key="start")
    after = definition("start"), definition("mine")
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_a_policy_lists_the_candidates_that_its_start_lists(write: Write) -> None:
    write(LISTED)
    listed = listed_candidates(load_experiment("mine"))
    assert listed is not None
    assert listed == listed_candidates(load_experiment("sft-titles-candidates"))
    assert listed_candidates(load_experiment("sft")) is None
    assert listed_candidates(load_experiment("popularity")) is None


def test_only_policies_that_rank_the_catalogue_are_servable(write: Write) -> None:
    write(LISTED)
    servable = {key: is_servable(load_experiment(key)) for key in ("mine", "sft", "dmpo-k15", "popularity")}
    assert servable == {"mine": False, "sft": True, "dmpo-k15": True, "popularity": False}
