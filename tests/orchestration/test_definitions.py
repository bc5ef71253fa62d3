"""What a stranger sees in Dagster: complete, described, and loaded without a deep-learning library."""

import ast
import inspect
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from assets.lake.shown import LINEAGE, column_lineage, column_schema
from contracts.tables import TABLES
from orchestration.automation.schedules import retraining_schedules
from orchestration.definitions import asset_modules, build_definitions

GRAPH = {
    "raw_interactions": set(),
    "raw_items": set(),
    "paper_rows": set(),
    "quarantine": set(),
    "interactions": {"raw_interactions", "raw_items", "paper_rows"},
    "users": {"raw_interactions", "raw_items", "paper_rows"},
    "items": {"raw_interactions", "raw_items", "paper_rows"},
    "splits": {"interactions"},
    "histories": {"interactions", "paper_rows", "users", "items"},
    "candidate_sets": {"histories", "interactions", "items", "paper_rows", "users"},
    "sft_policies": {"histories", "items", "interactions", "candidate_sets"},
    "mined_negatives": {"sft_policies", "histories", "interactions", "items"},
    "preference_rows": {"sft_policies", "mined_negatives", "histories", "interactions"},
    "reference_logps": {"sft_policies", "preference_rows", "histories", "items", "interactions"},
    "preference_policies": {
        "sft_policies",
        "histories",
        "items",
        "preference_rows",
        "reference_logps",
        "interactions",
        "candidate_sets",
    },
    "predictions": {"sft_policies", "preference_policies", "histories", "candidate_sets", "items", "interactions"},
    "metrics": {"sft_policies", "preference_policies", "predictions", "histories", "interactions", "items"},
    "leaderboard": {"metrics", "candidate_sets"},
    "registered_models": {"sft_policies", "preference_policies", "metrics", "items", "histories", "interactions"},
    "study_reports": {"metrics", "preference_policies", "sft_policies"},
    "paper_comparison": {"metrics"},
    "promotion": {"registered_models", "metrics", "histories", "items", "interactions"},
}


LOG_FILE = "source: {kind: tabular, path: log.csv, user: user, item: item, time: {column: at, format: seconds}}\n"
OF_DATA_SETS = {
    *("raw_interactions", "raw_items", "paper_rows", "quarantine", "interactions", "users", "items"),
    *("splits", "histories", "candidate_sets"),
}
"""Assets that depend on the file of their data set; all others depend on files of experiments."""
FILES = {"dataset_files", "experiment_files"}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BORDERLINE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("DAGSTER_HOME", raising=False)
        return build_definitions()


def specs(definitions: dg.Definitions) -> list[dg.AssetSpec]:
    return list(definitions.resolve_all_asset_specs())


def test_the_graph_is_the_one_that_people_know(definitions: dg.Definitions) -> None:
    found = {
        spec.key.to_user_string(): {dep.asset_key.to_user_string() for dep in spec.deps} for spec in specs(definitions)
    }
    assert {name: above - FILES for name, above in found.items() if name not in FILES} == GRAPH
    assert {name: above & FILES for name, above in found.items()} == {
        **{name: {"dataset_files"} if name in OF_DATA_SETS else {"experiment_files"} for name in GRAPH},
        **{name: set() for name in FILES},
    }


def test_no_edge_is_declared_that_the_body_has_no_use_for() -> None:
    for module in asset_modules():
        tree = ast.parse(inspect.getsource(module))
        for body in [node for node in tree.body if isinstance(node, ast.FunctionDef) and _is_asset(node)]:
            used = {node.id for part in body.body for node in ast.walk(part) if isinstance(node, ast.Name)}
            for parameter in body.args.args:
                assert parameter.arg in used, f"{body.name} declares {parameter.arg} and does not use it"


def _is_asset(function: ast.FunctionDef) -> bool:
    calls = [each.func for each in function.decorator_list if isinstance(each, ast.Call)]
    return any(isinstance(call, ast.Name) and call.id in ("asset", "assets") for call in calls)


def test_every_asset_tells_a_stranger_what_it_is(definitions: dg.Definitions) -> None:
    for spec in specs(definitions):
        name = spec.key.to_user_string()
        assert spec.description, name
        assert len(spec.description) > 40, name
        assert spec.kinds, name
        assert spec.group_name != "default", name
        assert spec.partitions_def is not None, name
        if name in FILES:  # a person writes them; no code makes them
            continue
        assert spec.owners, name
        assert spec.code_version, name


def test_every_check_tells_a_stranger_what_it_holds_an_asset_to(definitions: dg.Definitions) -> None:
    checks = [spec for asset in definitions.resolve_asset_graph().assets_defs for spec in asset.check_specs]
    assert {"schema", "no_order_leads_to_the_target", "does_not_collapse"} <= {spec.name for spec in checks}
    of = {spec.key: spec.partitions_def for spec in specs(definitions)}
    for spec in checks:
        assert len(spec.description or "") > 25, spec.key
        assert spec.partitions_def == of[spec.asset_key], spec.key


def test_the_jobs_a_person_looks_for_are_there(definitions: dg.Definitions) -> None:
    jobs = {job.name: job for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}
    assert {"ingest", "train", "evaluate", "retrain", "compare", "promote", "register", "study", "report"} <= set(jobs)
    assert all(job.description for job in jobs.values())


def test_a_weekly_schedule_which_is_off_is_there_for_each_data_set_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BORDERLINE_PROJECT", str(tmp_path / "project"))
    monkeypatch.setenv("BORDERLINE_RAW", str(tmp_path / "raw"))
    (tmp_path / "project" / "datasets").mkdir(parents=True)
    for key in ("a-b", "a_b", "a.b", "elsewhere", "broken"):
        text = "source: {kind: nothing}" if key == "broken" else LOG_FILE
        (tmp_path / "project" / "datasets" / f"{key}.yaml").write_text(text)
        if key not in ("elsewhere", "broken"):
            (tmp_path / "raw" / key).mkdir(parents=True)
            (tmp_path / "raw" / key / "log.csv").write_text("user,item,at\n")
    schedules = {schedule.tags["dataset"]: schedule for schedule in retraining_schedules()}
    assert set(schedules) == {"a-b", "a_b", "a.b", "broken"}  # whose run says what is wrong with it
    assert len({schedule.name for schedule in schedules.values()}) == 4
    for schedule in schedules.values():
        assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
        assert schedule.cron_schedule == "0 3 * * 0"


def test_definitions_load_fast_and_without_heavy_libraries(tmp_path) -> None:
    code = (
        "import sys; from orchestration.definitions import defs; defs(); "
        "heavy = {'torch', 'transformers', 'peft', 'mlflow', 'matplotlib', 'pandas'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"BORDERLINE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    )
    assert time.monotonic() - started < 5.0


def test_every_column_says_which_columns_it_is_made_of_and_all_of_them_exist(definitions: dg.Definitions) -> None:
    assert set(TABLES) - set(LINEAGE) == {"raw_interactions", "raw_items", "paper_rows", "quarantine"}
    above = {
        spec.key.to_user_string(): {dep.asset_key.to_user_string() for dep in spec.deps} for spec in specs(definitions)
    }
    for table, columns in LINEAGE.items():
        assert list(columns) == [column.name for column in TABLES[table]], table
        for source in {source for sources in columns.values() for source in sources}:
            upstream, name = source.split(".")
            assert TABLES[upstream].column(name), source
            assert upstream in above[table], f"{table} does not read {upstream}"


def test_a_materialisation_shows_columns_and_where_they_come_from() -> None:
    schema, lineage = column_schema("candidate_sets"), column_lineage("candidate_sets")
    assert [(column.name, bool(column.description)) for column in schema.columns] == [
        ("row_id", True),
        ("candidates", True),
    ]
    found = {(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage.deps_by_column["candidates"]}
    assert found == {
        ("histories", "target"),
        ("interactions", "item_id"),
        ("items", "item_id"),
        ("paper_rows", "candidates"),
    }
