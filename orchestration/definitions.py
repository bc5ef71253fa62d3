"""Everything Dagster knows: assets, jobs, schedules, sensors, resources. Imports neither torch nor mlflow."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

import dagster as dg

from orchestration import code_location, machine, settings
from orchestration.automation.schedules import retraining_schedules
from orchestration.automation.sensors import (
    changed_files_are_recorded,
    orphaned_mlflow_runs_are_ended,
    yaml_files_become_partitions,
)
from orchestration.console import console
from orchestration.layers import LAYERS
from orchestration.resources.launcher import SubprocessLauncher
from orchestration.walk_jobs import WALKS

ASSET_ROOMS = ("data", "learning", "results", "registry")
"""The folders of `assets/` whose modules are searched for assets; a new asset is a new file in one of them."""


def asset_modules() -> list[ModuleType]:
    """Every module of the rooms that hold assets."""
    rooms = (import_module(f"assets.{room}") for room in ASSET_ROOMS)
    return [import_module(f"{room.__name__}.{found.name}") for room in rooms for found in iter_modules(room.__path__)]


def build_definitions(**overrides: object) -> dg.Definitions:
    """The definitions, with the resources of this machine unless a test passes its own."""
    settings.prepare_home()
    resources = {
        "lake": machine.lake(),
        "launcher": SubprocessLauncher.from_environment(),
        "tracker": machine.tracker(),
    }
    return dg.Definitions(
        assets=dg.load_assets_from_modules(asset_modules()),
        jobs=[*LAYERS, *WALKS],
        schedules=retraining_schedules(),
        sensors=[yaml_files_become_partitions, changed_files_are_recorded, orphaned_mlflow_runs_are_ended],
        resources={**resources, **overrides},
        loggers={"console": console},
        executor=dg.multiprocess_executor.configured({"max_concurrent": 2}),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    definitions = build_definitions()
    code_location.join(machine.tracker())
    return definitions
