"""Every mistake in a YAML is one line that names the file, the line, the key and what is accepted."""

import re
import shutil
from pathlib import Path

import pytest

from contracts.config import BaselineExperiment, identity
from contracts.files.experiments import (
    default_experiments,
    definition,
    experiment_partitions,
    is_servable,
    previous_round,
    rounds_to,
)
from contracts.files.load import load_dataset, load_experiment
from contracts.files.names import experiment_keys, project_folder, source_of, study_of
from contracts.files.yaml_lines import ConfigurationError

GOOD = """\
kind: preference
start_from: sft
objective: {kind: dynamicpo-dmpo, beta: 1.0, margin: 6.0}
negatives: {n: 15, miner: mixed}
optimizer: {kind: adamw, lr: 3.0e-4}
seed: 0
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("datasets", "experiments"):
        shutil.copytree(project_folder() / folder, tmp_path / folder)
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    return tmp_path


def write(project: Path, text: str, key: str = "mine") -> None:
    (project / "experiments" / f"{key}.yaml").write_text(text, encoding="utf-8")


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
def test_a_mistake_names_its_line_and_what_is_accepted(project: Path, old: str, new: str, line: int, said: str) -> None:
    assert old in GOOD
    write(project, GOOD.replace(old, new))
    with pytest.raises(ConfigurationError) as refusal:
        load_experiment("mine")
    assert f"mine.yaml:{line}: " in str(refusal.value)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: !odd sft\n", "mine.yaml:1: not valid YAML: could not determine a constructor for the tag '!odd'"),
        ("kind: !!int sft\n", "mine.yaml:1: 'sft' cannot be read: invalid literal for int()"),
        ("kind: sft\nseed: 2024-99-99\n", "mine.yaml:2: '2024-99-99' cannot be read: month must be in 1..12"),
        ("kind: sft\nseed: \x07\n", "mine.yaml: not valid YAML: unacceptable character"),
        ("kind: &a\n  again: *a\n", "mine.yaml: must not be nested without end"),
        ("- kind\n", "mine.yaml:1: "),
        ("", "mine.yaml:1: "),
    ],
)
def test_text_that_yaml_trips_over_is_refused_in_one_line(project: Path, text: str, said: str) -> None:
    write(project, text)
    with pytest.raises(ConfigurationError) as refusal:
        load_experiment("mine")
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
def test_a_mistake_in_a_baseline_is_told_apart_by_which_one_it_is(project: Path, text: str, said: str) -> None:
    write(project, text)
    with pytest.raises(ConfigurationError) as refusal:
        load_experiment("mine")
    assert said in str(refusal.value)


def test_floors_are_those_that_ignore_the_user() -> None:
    baselines = {name: load_experiment(name) for name in experiment_keys()}
    floors = {name for name, found in baselines.items() if isinstance(found, BaselineExperiment) and found.ignores_user}
    assert floors == {"popularity", "recent-popularity", "random", "slot", "shared-list"}
    assert {"item-knn", "als", "bpr", "item-cooccurrence"} <= set(baselines)


def test_what_is_no_file_is_refused(project: Path) -> None:
    (project / "experiments" / "mine.yaml").mkdir()
    with pytest.raises(ConfigurationError, match=r"mine.yaml: must be a file that can be read: Is a directory"):
        load_experiment("mine")
    (project / "experiments" / "other.yaml").symlink_to(project / "nowhere")
    with pytest.raises(ConfigurationError, match=r"other.yaml: must be a file that can be read: No such file"):
        load_experiment("other")


def test_all_means_what_fits_any_data_set(project: Path) -> None:
    found = default_experiments()
    assert {"sft", "dmpo-k15", "popularity", "item-knn"} <= set(found)
    assert not {"sft-titles", "sft-semantic-ids", "sdpo-k15-titles", "sasrec-ce"} & set(found)


@pytest.mark.parametrize(
    ("negatives", "said"),
    [
        ("{n: 21, miner: hardest}", "the 20 hard negatives the pool of sft holds, got 21. Lower n, or raise pool.hard"),
        ("{n: 16, miner: hardest, min_rank: 6}", "got 21, 5 of them to be passed over by min_rank. Lower n, or raise"),
        ("{n: 21, miner: uniform, min_rank: 6}", "the 20 uniform negatives the pool of sft holds, got 21. Lower n"),
        ("{n: 20, miner: uniform, min_rank: 22}", "got 21, 1 of them to be passed over by min_rank. Lower n,"),
        ("{n: 15, miner: mixed, min_rank: 14}", "the 20 hard negatives the pool of sft holds, got 21, 13 of them"),
        (
            "{n: 1, miner: popularity}",
            "the 0 popularity negatives the pool of sft holds, got 1. Lower n, or raise",
        ),
        ("{n: 3, miner: in_batch}", "the 0 in_batch negatives the pool of sft holds, got 3. Lower n, or raise pool.in"),
        ("{n: 41, miner: boundary}", "the 40 boundary negatives the pool of sft holds, got 41. Lower n, or raise one"),
    ],
)
def test_a_pool_too_small_for_the_negatives_is_refused(project: Path, negatives: str, said: str) -> None:
    write(project, GOOD.replace("{n: 15, miner: mixed}", negatives))
    with pytest.raises(ConfigurationError) as refusal:
        load_experiment("mine")
    assert said in str(refusal.value)
    assert "in experiments/sft.yaml" in str(refusal.value)


@pytest.mark.parametrize(
    "negatives",
    ["{n: 15, miner: hardest, min_rank: 6}", "{n: 20, miner: uniform, min_rank: 21}", "{n: 40, miner: boundary}"],
)
def test_a_pool_that_just_suffices_is_accepted(project: Path, negatives: str) -> None:
    write(project, GOOD.replace("{n: 15, miner: mixed}", negatives))
    assert load_experiment("mine").kind == "preference"


def test_a_broken_file_harms_no_other_experiment(project: Path) -> None:
    write(project, "kind: [", key="broken")
    write(project, GOOD)
    assert load_experiment("mine").kind == "preference"


@pytest.mark.parametrize("name", ["Popular.yaml", "popular.yml"])
def test_a_file_that_is_passed_over_for_its_name_is_named(project: Path, name: str) -> None:
    (project / "experiments" / name).write_text("kind: baseline\nbaseline: popularity\n")
    with pytest.raises(ConfigurationError, match=rf"{name} is passed over: rename it to popular.yaml"):
        load_experiment("popular")


def test_an_unknown_start_names_the_accepted_ones(project: Path) -> None:
    write(project, GOOD.replace("start_from: sft", "start_from: dmpo-k1"))
    with pytest.raises(ConfigurationError, match=r"start_from must be an experiment of kind sft.*Accepted: .*\bsft\b"):
        load_experiment("mine")


def test_an_unknown_name_suggests_the_closest(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown experiment 'dmpo-k16'\. Did you mean 'dmpo-k1'"):
        load_experiment("dmpo-k16")
    with pytest.raises(ConfigurationError, match=r"unknown data set '\.\./demo'"):
        load_dataset("../demo")


def test_latin_1_is_refused_with_the_byte(project: Path) -> None:
    (project / "experiments" / "mine.yaml").write_bytes("# caf\xe9\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="must be UTF-8 text, byte 5 is not"):
        load_experiment("mine")


def test_identity_is_the_meaning_and_not_the_spelling(project: Path) -> None:
    write(project, GOOD)
    reordered = "\n".join(reversed(GOOD.splitlines())).replace("3.0e-4", "0.0003").replace("margin: 6.0", "margin: 6")
    write(project, "# another header\n" + reordered, "same")
    write(project, GOOD.replace("margin: 6.0", "margin: 2.0"), "other")
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
def test_what_only_training_would_trip_over_is_refused_when_it_is_read(project: Path, mistake: str, said: str) -> None:
    write(project, f"kind: sft\noptimizer: {{kind: adamw, lr: 3.0e-4}}\n{mistake}\n")
    with pytest.raises(ConfigurationError) as refusal:
        load_experiment("mine")
    assert said in str(refusal.value)
    assert "mine.yaml" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_checkpoint_in_a_folder_needs_no_revision(project: Path) -> None:
    backbone = f"{{kind: checkpoint, name: {project}}}"
    write(project, f"kind: sft\noptimizer: {{kind: adamw, lr: 3.0e-4}}\nbackbone: {backbone}\n")
    assert load_experiment("mine").kind == "sft"


def test_more_negatives_than_the_pool_holds_are_refused(project: Path) -> None:
    write(project, GOOD.replace("{n: 15, miner: mixed}", "{n: 21, miner: uniform}"))
    with pytest.raises(ConfigurationError, match=r"at most the 20 uniform negatives .* got 21.*raise pool\.uniform"):
        load_experiment("mine")


def test_nothing_starts_from_an_experiment_that_mines_no_negatives(project: Path) -> None:
    write(project, "kind: sft\noptimizer: {kind: adamw, lr: 3.0e-4}\npool: null\n", key="poolless")
    write(project, GOOD.replace("start_from: sft", "start_from: poolless"))
    with pytest.raises(ConfigurationError, match=r"mines negatives, got poolless, whose pool is null"):
        load_experiment("mine")


LISTED = GOOD.replace("start_from: sft", "start_from: sft-titles-candidates").replace("mixed", "uniform")


def test_a_preference_experiment_is_selected_by_what_the_policy_it_starts_from_ranks(project: Path) -> None:
    write(project, LISTED)
    said = r"mine.yaml:\d+: budget.select_by must be hit_ratio_at_1_of_20 or mrr_of_20, as the prompt lists 20 c"
    with pytest.raises(ConfigurationError, match=said):
        load_experiment("mine")
    write(project, LISTED + "budget: {select_by: mrr_of_20}\n")
    assert is_servable(load_experiment("mine")) is False
    write(project, GOOD + "budget: {select_by: mrr_of_20}\n")
    with pytest.raises(
        ConfigurationError, match=r"mine.yaml:\d+: budget.select_by must be ndcg_at_10_full, .* no cand"
    ):
        load_experiment("mine")
    write(project, GOOD)
    assert is_servable(load_experiment("mine"))
    assert not is_servable(load_experiment("popularity"))


def test_negatives_come_from_the_list_in_the_prompt(project: Path) -> None:
    write(project, LISTED.replace("n: 15", "n: 20") + "budget: {select_by: mrr_of_20}\n")
    with pytest.raises(ConfigurationError, match="at most the 19 uniform negatives the pool of sft-titles-candidates"):
        load_experiment("mine")


THREE = GOOD.replace("miner: mixed}", "miner: mixed, rounds: 3}")


def test_a_round_is_the_experiment_with_as_many_rounds_as_came_to_pass(project: Path) -> None:
    write(project, THREE)
    assert rounds_to("mine") == ["mine.round-0", "mine.round-1", "mine"]
    assert rounds_to("mine.round-1") == ["mine.round-0", "mine.round-1"]
    assert [previous_round(key) for key in rounds_to("mine")] == [None, "mine.round-0", "mine.round-1"]
    write(project, GOOD, key="once")
    assert (rounds_to("once"), previous_round("once")) == (["once"], None)
    assert load_experiment("mine.round-0") == load_experiment("once")
    assert definition("mine.round-0") == definition("once")
    assert len({definition(key) for key in rounds_to("mine")}) == 3
    assert previous_round("popularity") is None
    assert source_of("mine.round-0") == source_of("mine")


def test_one_more_round_changes_none_of_those_before(project: Path) -> None:
    write(project, THREE)
    before = {key: definition(key) for key in rounds_to("mine")}
    write(project, THREE.replace("rounds: 3", "rounds: 4"))
    after = {key: definition(key) for key in rounds_to("mine")}
    assert after["mine.round-2"] == before["mine"]
    assert {key: after[key] for key in ("mine.round-0", "mine.round-1")} == {
        key: before[key] for key in ("mine.round-0", "mine.round-1")
    }


@pytest.mark.parametrize("key", ["mine.round-2", "mine.round-01", "mine.round-7"])
def test_a_round_that_the_experiment_has_not_is_refused(project: Path, key: str) -> None:
    write(project, THREE)
    with pytest.raises(ConfigurationError, match=r"mine.yaml: .*Accepted: mine.round-0, mine.round-1, mine\.$"):
        load_experiment(key)


def test_only_preference_experiments_have_rounds(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'sft.round-0' must be a round of it.*Accepted: sft\.$"):
        load_experiment("sft.round-0")


@pytest.mark.parametrize("rounds", ["0", "11", "one"])
def test_there_are_one_to_ten_rounds(project: Path, rounds: str) -> None:
    write(project, THREE.replace("rounds: 3", f"rounds: {rounds}"))
    with pytest.raises(ConfigurationError, match=r"mine.yaml:4: negatives.rounds must be"):
        load_experiment("mine")


def test_a_file_named_as_a_round_is_refused(project: Path) -> None:
    write(project, THREE)
    write(project, GOOD, key="mine.round-0")
    with pytest.raises(ConfigurationError, match=r"mine.round-0.yaml: no file may be named <name>.round-<number>"):
        load_experiment("mine.round-0")


def test_rounds_are_partitions_and_not_among_all_experiments(project: Path) -> None:
    write(project, THREE)
    write(project, "kind: [", key="broken")
    found = experiment_partitions()
    assert {"mine", "mine.round-0", "mine.round-1", "broken", "sft"} <= set(found)
    assert "mine.round-2" not in found
    (project / "experiments" / "broken.yaml").unlink()
    assert "mine" not in default_experiments()


def test_the_name_of_an_experiment_may_hold_a_dot_and_so_may_that_of_its_round(project: Path) -> None:
    write(project, THREE, key="beta0.5")
    assert study_of("beta0.5.round-1") is None
    assert previous_round("beta0.5.round-1") == "beta0.5.round-0"
