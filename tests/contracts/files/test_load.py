"""Every mistake in an experiment's file is one line that names the file, the line, the key and what is accepted."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.config import identity
from contracts.files.experiments import is_servable
from contracts.files.load import load_dataset, load_experiment
from contracts.files.names import experiment_keys, project_folder
from contracts.files.yaml_lines import ConfigurationError

Write = Callable[..., None]

GOOD = """\
kind: preference
start_from: sft
objective: {kind: dynamicpo-dmpo, beta: 1.0, margin: 6.0}
negatives: {n: 15, miner: mixed}
optimizer: {kind: adamw, lr: 3.0e-4}
seed: 0
"""
LISTED = GOOD.replace("start_from: sft", "start_from: sft-titles-candidates").replace("mixed", "uniform")
THREE = GOOD.replace("miner: mixed}", "miner: mixed, rounds: 3}")


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("beta: 1.0", "beta: -1", 3, "objective.beta must be greater than 0, got -1"),
        ("beta: 1.0", "betaa: 1.0", 3, "unknown key 'objective.betaa'. Did you mean 'beta'?"),
        ("dynamicpo-dmpo", "dynamicpo-dmpoo", 3, "unknown kind 'dynamicpo-dmpoo' of objective. Did you mean"),
        ("lr: 3.0e-4", "lr: fast", 5, "optimizer.lr must be a valid number"),
        ("n: 15", "n: 0", 4, "negatives.n must be greater than or equal to 1, got 0"),
        ("miner: mixed", "miner: hard", 4, "negatives.miner must be 'mixed', 'hardest', 'boundary', 'uniform', 'pop"),
        ("n: 15", "n: 15, min_rank: 0", 4, "negatives.min_rank must be greater than or equal to 1, got 0"),
        ("optimizer: {kind: adamw, lr: 3.0e-4}\n", "", 1, "'optimizer' is missing"),
        ("seed: 0", "seed: 0\nseed: 1", 7, "'seed' is written twice"),
        ("kind: preference", "kind: prefrence", 1, "Did you mean 'preference'? Accepted: sft, preference, baseline"),
        ("{kind: adamw, lr: 3.0e-4}", "{lr: 3.0e-4}", 5, "'optimizer' must say its kind. Accepted: adamw"),
        ("seed: 0", "seed: [", 7, "not valid YAML"),
        ("lr: 3.0e-4", "lr: 3.0e-4, weight_decay: .inf", 5, "optimizer.weight_decay must be a finite number, got inf"),
        ("lr: 3.0e-4", "lr: .nan", 5, "optimizer.lr must be a finite number, got nan"),
    ],
)
def test_a_mistake_names_its_line_and_what_is_accepted(write: Write, old: str, new: str, line: int, said: str) -> None:
    assert old in GOOD
    write(GOOD.replace(old, new))
    with pytest.raises(ConfigurationError) as refusal:
        load_experiment("mine")
    assert f"mine.yaml:{line}: " in str(refusal.value)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: baseline\n", "mine.yaml:1: 'the file' must say its baseline. Accepted: popularity, recent_popularity"),
        ("kind: baseline\nbaseline: item_kn\n", "mine.yaml:2: unknown baseline 'item_kn' of the file. Did you mean"),
        ("kind: baseline\nbaseline: als\nfactor: 8\n", "mine.yaml:3: unknown key 'factor'. Did you mean 'factors'?"),
        ("kind: baseline\nbaseline: als\nalpha: 0\n", "mine.yaml:3: alpha must be greater than 0, got 0"),
        ("kind: baseline\nbaseline: popularity\nshare: 1\n", "mine.yaml:3: unknown key 'share'. Accepted: kind,"),
        ("kind: baseline\nbaseline: recent_popularity\nshare: 0\n", "mine.yaml:3: share must be greater than 0"),
    ],
)
def test_a_mistake_in_a_baseline_is_told_apart_by_which_one_it_is(write: Write, text: str, said: str) -> None:
    write(text)
    with pytest.raises(ConfigurationError) as refusal:
        load_experiment("mine")
    assert said in str(refusal.value)


def test_a_broken_file_harms_no_other_experiment(write: Write) -> None:
    write("kind: [", key="broken")
    write(GOOD)
    assert load_experiment("mine").kind == "preference"


def test_an_unknown_start_names_the_accepted_ones(write: Write) -> None:
    write(GOOD.replace("start_from: sft", "start_from: dmpo-k1"))
    with pytest.raises(ConfigurationError, match=r"start_from must be an experiment of kind sft.*Accepted: .*\bsft\b"):
        load_experiment("mine")


def test_an_unknown_name_suggests_the_closest(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown experiment 'dmpo-k16'\. Did you mean 'dmpo-k1'"):
        load_experiment("dmpo-k16")
    with pytest.raises(ConfigurationError, match=r"unknown data set '\.\./demo'"):
        load_dataset("../demo")


def test_identity_is_the_meaning_and_not_the_spelling(write: Write) -> None:
    write(GOOD)
    reordered = "\n".join(reversed(GOOD.splitlines())).replace("3.0e-4", "0.0003").replace("margin: 6.0", "margin: 6")
    write("# another header\n" + reordered, "same")
    write(GOOD.replace("margin: 6.0", "margin: 2.0"), "other")
    same, mine, other = (identity(load_experiment(key)) for key in ("same", "mine", "other"))
    assert same == mine != other


@pytest.mark.parametrize("key", experiment_keys())
def test_every_experiment_that_ships_loads_and_says_how_to_run_it(key: str) -> None:
    load_experiment(key)
    header = (project_folder() / "experiments" / f"{key}.yaml").read_text(encoding="utf-8").split("\nkind:")[0]
    found = re.search(rf"borderline run --dataset (\S+) --experiments {re.escape(key)}\b", header)
    assert found is not None
    assert found[1] == "demo" or "semantic-ids" in key  # those need the codes of a catalogue


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("backbone: {kind: scratch, hidden: 66, heads: 4}", "hidden must be a multiple of 2 × heads, 8, got 66."),
        ("pool: {hard: 0, uniform: 0}", "hard + uniform + popularity + in_batch must be at least 1, got 0."),
        ("backbone: {kind: checkpoint, name: some/repository}", "backbone.revision must be the 40-digit commit"),
        ("backbone: {kind: scratch, dropout: .nan}", "backbone.dropout must be a finite number, got nan"),
    ],
)
def test_what_only_training_would_trip_over_is_refused_when_it_is_read(write: Write, mistake: str, said: str) -> None:
    write(f"kind: sft\noptimizer: {{kind: adamw, lr: 3.0e-4}}\n{mistake}\n")
    with pytest.raises(ConfigurationError) as refusal:
        load_experiment("mine")
    assert said in str(refusal.value)
    assert "mine.yaml" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_checkpoint_in_a_folder_needs_no_revision(write: Write, project: Path) -> None:
    backbone = f"{{kind: checkpoint, name: {project}}}"
    write(f"kind: sft\noptimizer: {{kind: adamw, lr: 3.0e-4}}\nbackbone: {backbone}\n")
    assert load_experiment("mine").kind == "sft"


def test_more_negatives_than_the_pool_holds_are_refused(write: Write) -> None:
    write(GOOD.replace("{n: 15, miner: mixed}", "{n: 21, miner: uniform}"))
    with pytest.raises(ConfigurationError, match=r"at most the 20 uniform negatives .* got 21.*raise pool\.uniform"):
        load_experiment("mine")


def test_nothing_starts_from_an_experiment_that_mines_no_negatives(write: Write) -> None:
    write("kind: sft\noptimizer: {kind: adamw, lr: 3.0e-4}\npool: null\n", key="poolless")
    write(GOOD.replace("start_from: sft", "start_from: poolless"))
    with pytest.raises(ConfigurationError, match=r"mines negatives, got poolless, whose pool is null"):
        load_experiment("mine")


def test_a_preference_experiment_is_selected_by_what_the_policy_it_starts_from_ranks(write: Write) -> None:
    write(LISTED)
    said = r"mine.yaml:\d+: budget.select_by must be hit_ratio_at_1_of_20 or mrr_of_20, as the prompt lists 20 c"
    with pytest.raises(ConfigurationError, match=said):
        load_experiment("mine")
    write(LISTED + "budget: {select_by: mrr_of_20}\n")
    assert is_servable(load_experiment("mine")) is False
    write(GOOD + "budget: {select_by: mrr_of_20}\n")
    with pytest.raises(
        ConfigurationError, match=r"mine.yaml:\d+: budget.select_by must be ndcg_at_10_full, .* no cand"
    ):
        load_experiment("mine")
    write(GOOD)
    assert is_servable(load_experiment("mine"))
    assert not is_servable(load_experiment("popularity"))


def test_negatives_come_from_the_list_in_the_prompt(write: Write) -> None:
    write(LISTED.replace("n: 15", "n: 20") + "budget: {select_by: mrr_of_20}\n")
    with pytest.raises(ConfigurationError, match="at most the 19 uniform negatives the pool of sft-titles-candidates"):
        load_experiment("mine")


@pytest.mark.parametrize("key", ["mine.round-2", "mine.round-01", "mine.round-7"])
def test_a_round_that_the_experiment_has_not_is_refused(write: Write, key: str) -> None:
    write(THREE)
    with pytest.raises(ConfigurationError, match=r"mine.yaml: .*Accepted: mine.round-0, mine.round-1, mine\.$"):
        load_experiment(key)


def test_only_preference_experiments_have_rounds(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'sft.round-0' must be a round of it.*Accepted: sft\.$"):
        load_experiment("sft.round-0")


@pytest.mark.parametrize("rounds", ["0", "11", "one"])
def test_there_are_one_to_ten_rounds(write: Write, rounds: str) -> None:
    write(THREE.replace("rounds: 3", f"rounds: {rounds}"))
    with pytest.raises(ConfigurationError, match=r"mine.yaml:4: negatives.rounds must be"):
        load_experiment("mine")


def test_a_file_named_as_a_round_is_refused(write: Write) -> None:
    write(THREE)
    write(GOOD, key="mine.round-0")
    with pytest.raises(ConfigurationError, match=r"mine.round-0.yaml: no file may be named <name>.round-<number>"):
        load_experiment("mine.round-0")
