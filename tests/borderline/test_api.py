"""What the Python API and the command line do before any work: they load fast, and refuse by name."""

import subprocess
import sys

import pytest

import borderline
from contracts.files.yaml_lines import ConfigurationError


@pytest.mark.parametrize("call", ["run", "leaderboard", "table", "load_policy"])
def test_an_unknown_data_set_is_refused_by_name(call: str) -> None:
    further = {"table": ["histories"], "load_policy": ["sft"], "run": [["sft"]]}.get(call, [])
    with pytest.raises(ConfigurationError, match="unknown data set 'demos'"):
        getattr(borderline, call)("demos", *further)


def test_an_unknown_experiment_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigurationError, match="unknown experiment 'sftt'"):
        borderline.run("demo", ["sftt"])


def test_the_import_loads_no_library_that_takes_its_time() -> None:
    heavy = "{'torch', 'transformers', 'dagster', 'mlflow', 'polars', 'duckdb', 'scipy', 'matplotlib'}"
    code = f"import sys, borderline; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["datasets"]])
def test_a_command_that_computes_nothing_loads_no_orchestrator(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom borderline.cli.main import main\n"
        f"sys.argv = ['borderline', *{arguments}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'dagster', 'mlflow', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_stored_leaderboard_is_read_without_an_orchestrator() -> None:
    code = (
        "import sys, borderline.boards, borderline.home; borderline.home.lake(); "
        "print(sorted({'torch', 'dagster', 'mlflow', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_command_and_knows_its_version() -> None:
    done = subprocess.run([sys.executable, "-m", "borderline", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"borderline {borderline.__version__}\n"
