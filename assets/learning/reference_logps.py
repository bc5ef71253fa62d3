"""Reference log-probabilities, computed once for the whole training instead of at every step."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.lake.checks import check, check_specs
from assets.lake.partitions import BY_EXPERIMENT, keys_of, of_start
from assets.lake.ports import Launcher
from assets.lake.publish import Content, Inputs, publish
from assets.lake.versions import Lake
from assets.learning.follower import Follower
from assets.learning.policies import load_preference, paths_of, tables_of_prompts
from assets.learning.start import start_of
from assets.transforms.guarantees.finding import every_completion_is_covered
from contracts.config import ReferenceSpec


@dg.asset(
    deps=[of_start("sft_policies"), "preference_rows", "histories", "items"],
    partitions_def=BY_EXPERIMENT,
    group_name="negatives",
    kinds={"torch", "parquet"},
    owners=["team:training"],
    code_version="1",
    pool="gpu",
    check_specs=check_specs("reference_logps", "every_completion_is_covered"),
)
def reference_logps(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], launcher: dg.ResourceParam[Launcher]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Log-probabilities of every chosen and rejected item under the policy that the experiment starts from.

    They depend on its weights, on the rows and on what their prompts list alone, so experiments with the same rows
    share them. The reference of a later round is the policy of the round before.
    """
    keys = keys_of(context)
    experiment = load_preference("reference_logps", keys)
    dataset, start = (keys.dataset,), start_of(keys, experiment)
    for_prompts = [table for table in tables_of_prompts(keys, experiment) if table[0] == "interactions"]

    def score(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        spec = ReferenceSpec(
            policy=inputs[start.asset].path("policy"),
            preference_rows=inputs["preference_rows"].table_path,
            histories=inputs["histories"].table_path,
            items=inputs["items"].table_path,
            output=staged["reference_logps"],
            compute=launcher.compute,
            **paths_of(inputs, for_prompts),
        )
        launcher.run("reference", spec, Follower(context, f"reference of {keys.experiment}"))
        table = pl.read_parquet(spec.output / "reference_logps.parquet")
        found = every_completion_is_covered(table, inputs["preference_rows"].table())
        return {"reference_logps": Content(table, {}, [check("every_completion_is_covered", found)])}

    yield from publish(
        context,
        lake,
        score,
        partition=keys,
        inputs=[
            start.policy_input,
            ("preference_rows", keys),
            ("histories", dataset),
            ("items", dataset),
            *for_prompts,
        ],
        config={},
        shared=True,
    )
