"""A study's file: which experiments it makes, what they are called, and how a mistake in it is told."""

import shutil
from pathlib import Path

import pytest

from contracts.config import PreferenceExperiment
from contracts.files.experiments import default_experiments, definition
from contracts.files.load import is_published, load_experiment, load_published, load_study
from contracts.files.names import experiment_keys, project_folder, study_keys, study_of
from contracts.files.yaml_lines import ConfigurationError
from orchestration.walks.study_parts import asked_parts, wanted

GOOD = """\
kind: grid
question: Which of two, and how many?
experiment:
  kind: preference
  start_from: sft
  objective: {beta: 1.0}
  optimizer: {kind: adamw, lr: 1.0e-4}
axes:
  base:
    dmpo: {objective: {kind: dmpo}}
    sdpo: {objective: {kind: sdpo, beta: 0.5}}
  boundary:
    plain: {}
    dynamicpo: {objective: {kind: "dynamicpo-{base}"}}
  negatives:
    k1: {negatives: {n: 1}}
    k5: {negatives: {n: 5}}
seeds: [0, 3]
select:
  axis: rate
  once_per: [base]
  at: {boundary: plain, negatives: k5}
  among:
    low: {optimizer: {lr: 1.0e-5}}
    high: {optimizer: {lr: 1.0e-3}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("datasets", "experiments"):
        shutil.copytree(project_folder() / folder, tmp_path / folder)
    (tmp_path / "studies").mkdir()
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path))
    return tmp_path


def write(project: Path, text: str, name: str = "mine") -> None:
    (project / "studies" / f"{name}.yaml").write_text(text, encoding="utf-8")


def test_every_combination_is_an_ordinary_experiment(project: Path) -> None:
    write(project, GOOD)
    grid = load_study("mine")
    assert len(grid.points) == 2 * 2 * 2 * 2 * 2
    experiment = load_experiment("mine.sdpo-dynamicpo-k5-high-s3")
    assert isinstance(experiment, PreferenceExperiment)
    assert experiment.objective.kind == "dynamicpo-sdpo"
    assert experiment.objective.beta == 0.5  # of the axis before, which the later one does not touch
    assert (experiment.negatives.n, experiment.optimizer.lr, experiment.seed) == (5, 1.0e-3, 3)


def test_it_means_the_same_as_an_experiment_of_its_own_file(project: Path) -> None:
    write(project, GOOD)
    (project / "experiments" / "alone.yaml").write_text(
        "kind: preference\nstart_from: sft\nobjective: {kind: dmpo}\nnegatives: {n: 1}\n"
        "optimizer: {kind: adamw, lr: 1.0e-5}\nseed: 0\n"
    )
    assert definition("mine.dmpo-plain-k1-low-s0") == definition("alone")


def test_seeds_come_last_so_that_what_is_there_early_is_a_whole_grid(project: Path) -> None:
    write(project, GOOD)
    seeds = [point.labels["seed"] for point in load_study("mine").points.values()]
    assert seeds == sorted(seeds)


def test_what_is_selected_is_asked_about_with_the_best_of_its_group_alone(project: Path) -> None:
    write(project, GOOD)
    grid = load_study("mine")
    dmpo, sdpo = grid.groups()
    assert [point.key for point in dmpo.candidates] == ["mine.dmpo-plain-k5-low-s0", "mine.dmpo-plain-k5-high-s0"]
    asked = grid.asked([dmpo.candidates[0], sdpo.candidates[1]])
    assert len(asked) == 2 * 2 * 2 * 2
    assert {(point.labels["base"], point.labels["rate"]) for point in asked} == {("dmpo", "low"), ("sdpo", "high")}
    assert {point.labels["base"] for point in grid.asked([dmpo.candidates[0]])} == {"dmpo"}
    assert list(grid.shown(asked[0])) == ["base", "boundary", "negatives", "seed"]


def test_without_a_selection_everything_is_asked(project: Path) -> None:
    write(project, GOOD.split("select:")[0])
    grid = load_study("mine")
    assert grid.groups() == []
    assert [point.key for point in grid.asked([])] == list(grid.points)
    assert "mine.dmpo-plain-k1-s0" in grid.points


def test_experiments_of_a_study_are_no_experiments_of_the_data_set(project: Path) -> None:
    before = experiment_keys(), default_experiments()
    write(project, GOOD)
    assert (experiment_keys(), default_experiments()) == before
    assert study_of("mine.dmpo-plain-k1-low-s0") == "mine"
    assert study_of("dmpo-k15") is None
    (project / "experiments" / "with.dot.yaml").write_text("kind: baseline\nbaseline: random\n")
    assert study_of("with.dot") is None
    (project / "studies" / "mine.yaml").unlink()
    assert study_of("mine.dmpo-plain-k1-low-s0") == "mine"  # what it left is still no experiment of the data set


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("beta: 0.5", "betaa: 0.5", 11, "mine.sdpo-plain-k1-low-s0: unknown key 'objective.betaa'. Did you mean"),
        ("{n: 5}", "{n: 0}", 17, "negatives.n must be greater than or equal to 1, got 0"),
        ("lr: 1.0e-3", "lr: fast", 25, "optimizer.lr must be a valid number"),
        ("dynamicpo-{base}", "dynamicpo_{base}", 14, "unknown kind 'dynamicpo_dmpo' of objective. Did you mean"),
        ("  kind: preference\n", "", 3, "must say its kind. Accepted: sft, preference, baseline."),
        ("kind: grid", "kind: gird", 1, "unknown kind 'gird' of the file. Did you mean 'grid'?"),
        ("question: Which of two, and how many?\n", "", 1, "'question' is missing"),
        ("seeds: [0, 3]", "seeds: [0, 0]", 18, "seeds must differ, got [0, 0]"),
        ("seeds: [0, 3]", "seeds: [0, -3]", 18, "seeds.1 must be greater than or equal to 0"),
        ("seeds: [0, 3]", "seeds: [0, true]", 18, "seeds.1 must be a valid integer, got True"),
        ("once_per: [base]", "once_per: [bsae]", 21, "select must name axes of the study, got 'bsae'"),
        ("once_per: [base]", "once_per: []", 19, "select must name axis 'base' in either once_per or at, got neither"),
        ("negatives: k5}", "negatives: k7}", 22, "unknown label 'k7' of axis 'negatives'. Accepted: k1, k5"),
        ("axis: rate", "axis: base", 20, "select.axis must be a name that no axis has, got 'base'"),
        ("    dmpo:", "    DMPO:", 10, "a label must be of a-z, 0-9, '.', '_' and '-', got 'DMPO'"),
        ("    k1:", '    "":', 16, "a label must be of a-z, 0-9, '.', '_' and '-', got ''"),
        ("    low:", "    l,ow:", 24, "a label must be of a-z, 0-9, '.', '_' and '-', got 'l,ow'"),
        ("    k1:", f"    k{'1' * 50}:", 24, "the name of an experiment must be at most 64 characters"),
        (
            "  negatives:\n    k1",
            '  "n=":\n    k1',
            15,
            "an axis must be of letters, digits, '.', '_' and '-', got 'n='",
        ),
        ("once_per: [base]", "once_per: [base, base]", 21, "select.once_per must name an axis once"),
        ("lr: 1.0e-3", "lr: .nan", 25, "optimizer.lr must be a finite number, got nan"),
        ("{n: 5}", "{n: 500}", 17, "negatives must ask for at most the"),
        ("start_from: sft", "start_from: stf", 5, "start_from must be an experiment of kind sft, got 'stf'"),
        ("    k5: {negatives: {n: 5}}", "    k5:", 17, "axes.negatives.k5 must be keys with values, got None"),
        ("{kind: sdpo, beta: 0.5}", "7", 11, "objective must be keys with values, got 7"),
        (
            "boundary: plain, negatives: k5",
            "boundary: plain, negatives: k5, negatives: k1",
            22,
            "'negatives' is written twice",
        ),
        (
            "lr: 1.0e-3",
            "lr: 1.0e-5",
            25,
            "got mine.dmpo-plain-k1-low-s0 and mine.dmpo-plain-k1-high-s0, which set the same",
        ),
        ("    plain: {}", "    dynamicpo: {}", 14, "'dynamicpo' is written twice"),
        ("  boundary:", "  seed:", 12, "axes must not hold 'seed'"),
        ("beta: 1.0}", "beta: 1.0}\n  seed: 1", 7, "experiment must not say its seed"),
    ],
)
def test_a_mistake_names_its_line_and_what_is_accepted(project: Path, old: str, new: str, line: int, said: str) -> None:
    assert old in GOOD
    write(project, GOOD.replace(old, new))
    with pytest.raises(ConfigurationError) as refusal:
        load_study("mine")
    assert f"mine.yaml:{line}: " in str(refusal.value)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_no_study_is_said_in_words(project: Path) -> None:
    for text, got in (("", "None"), ("# nothing\n", "None"), ("- a\n", "['a']"), ("3\n", "3")):
        write(project, text)
        with pytest.raises(ConfigurationError) as refusal:
            load_study("mine")
        assert f"mine.yaml:1: the file must be keys with values, got {got}." in str(refusal.value)


def test_a_repeated_seed_is_one_mistake(project: Path) -> None:
    write(project, GOOD.replace("seeds: [0, 3]", "seeds: [0, 0]"))
    with pytest.raises(ConfigurationError) as refusal:
        load_study("mine")
    assert "Change a label" not in str(refusal.value)


def test_rounds_whose_names_no_folder_may_have_are_refused(project: Path) -> None:
    long = "a" * 49  # with what stands before and behind it 62 characters
    write(project, GOOD.replace("    plain: {}", f"    {long}: {{negatives: {{rounds: 2}}}}"), "m")
    text = (project / "studies" / "m.yaml").read_text().split("select:")[0].replace("k1", "1").replace("k5", "5")
    write(project, text, "m")
    with pytest.raises(
        ConfigurationError, match=r"m\.yaml:13: .*the names of its rounds must be at most 64 characters"
    ):
        load_study("m")


def test_two_experiments_of_one_name_are_refused(project: Path) -> None:
    text = (
        GOOD.split("select:")[0]
        .replace("    plain: {}", "    plain: {}\n    plain-k1: {}")
        .replace("    k5:", "    k1-k1: {}\n    k5:")
    )
    write(project, text)
    with pytest.raises(ConfigurationError, match=r"two experiments would be called 'mine\.dmpo-plain-k1-k1-s0'"):
        load_study("mine")


def test_an_experiment_that_no_grid_makes_is_refused_by_the_file_of_its_study(project: Path) -> None:
    write(project, GOOD)
    with pytest.raises(ConfigurationError, match=r"mine\.yaml makes no experiment .* Did you mean"):
        load_experiment("mine.dmpo-plain-k1-low-s9")
    with pytest.raises(ConfigurationError, match=r"unknown experiment 'other\.dmpo'"):
        load_experiment("other.dmpo")
    with pytest.raises(ConfigurationError, match=r"unknown study 'mien'\. Did you mean 'mine'"):
        load_study("mien")


def test_a_baseline_is_no_experiment_of_a_study(project: Path) -> None:
    write(project, "kind: grid\nquestion: Which?\nexperiment: {kind: baseline, baseline: random}\naxes: {a: {b: {}}}\n")
    with pytest.raises(ConfigurationError, match=r"an experiment of a study must be of kind sft or preference"):
        load_study("mine")


def test_a_study_called_as_an_experiment_is_refused(project: Path) -> None:
    write(project, GOOD, "sft")
    with pytest.raises(ConfigurationError, match="must have no dot and be no experiment's"):
        load_study("sft")


def test_a_part_of_a_study_is_named_by_its_labels(project: Path) -> None:
    write(project, GOOD)
    grid = load_study("mine")
    is_wanted = wanted(grid, "mine", {"seed": ["3"], "negatives": ["k1", "k5"], "base": ["sdpo"]})
    assert sum(map(is_wanted, grid.points.values())) == 2 * 2 * 2
    with pytest.raises(ConfigurationError, match="'rate' must be an axis of the study mine"):
        wanted(grid, "mine", {"rate": ["low"]})
    with pytest.raises(ConfigurationError, match=r"one label of the axis seed .* got none\. Accepted: 0, 3"):
        wanted(grid, "mine", {"seed": []})
    with pytest.raises(ConfigurationError, match=r"'k7' must be labels of the axis negatives .* Accepted: k1, k5"):
        wanted(grid, "mine", {"negatives": ["k1", "k7"]})


def test_an_axis_that_is_asked_for_twice_is_refused_and_not_forgotten() -> None:
    assert asked_parts(["negatives=k1, k5", "seed=0"]) == {"negatives": ["k1", "k5"], "seed": ["0"]}
    with pytest.raises(ConfigurationError, match=r"got negatives twice .* Write: --only negatives=k1,k5"):
        asked_parts(["negatives=k1", "negatives=k5"])
    with pytest.raises(ConfigurationError, match=r"must be AXIS=LABEL,LABEL, got 'negatives'"):
        asked_parts(["negatives"])


@pytest.mark.parametrize("name", study_keys())
def test_every_study_that_ships_loads_and_says_how_to_run_it(name: str) -> None:
    load = load_published if is_published(name) else load_study
    load(name)
    header = (project_folder() / "studies" / f"{name}.yaml").read_text(encoding="utf-8").split("\nkind:")[0]
    assert f"borderline study {name} --" in header
