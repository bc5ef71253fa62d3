"""The one way in which an asset comes into being: reuse it if nothing changed, else compute, validate, then publish.

Validation comes before publication, inside the asset, because a blocking check stops a run but not a backfill.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.lake.checks import Check, accepting
from assets.lake.leaks import REMEDY, AcceptedLeak, accepted_in, accepted_leaks, is_accepting, recorded, refuse_accepted
from assets.lake.manifest import CARRIED, Metadata, from_json, joined_ancestry, to_json, with_ancestry
from assets.lake.parquet import write_table
from assets.lake.shown import LINEAGE, PREVIEW_ROWS, column_lineage, column_schema, in_plain_words, preview
from assets.lake.validate import validate
from assets.lake.versions import Lake, Partition, Version, partition_text
from contracts.config import fingerprint_of
from contracts.tables import TABLES
from contracts.words import FORCE_TAG

Results = Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]


def is_forced(tags: Mapping[str, str]) -> bool:
    """Whether the tags of a run ask for everything to be made anew."""
    return tags.get(FORCE_TAG) == "true"


@dataclass(frozen=True)
class Content:
    """What one asset holds, before it is published: a table, or files already written into its staging folder."""

    table: pl.DataFrame | pl.LazyFrame | Path | None = None
    """A LazyFrame is written in streaming, then validated in chunks: it need not fit in memory. A Path is the file of
    the asset's name that is in the staging folder already, written by `write_table` or by a training command: it is
    validated in chunks and published as it is."""
    metadata: Metadata = field(default_factory=dict)
    checks: Sequence[Check] = ()
    waited_s: float = 0.0
    """Seconds in which a command waited for the device; the seconds of the asset leave them out."""


class Inputs:
    """The versions that one materialisation reads, by asset."""

    def __init__(self, versions: Sequence[Version]) -> None:
        self.versions = list(versions)

    def __getitem__(self, asset: str) -> Version:
        """The one version of `asset` that is read."""
        (version,) = self.all(asset)
        return version

    def all(self, asset: str) -> list[Version]:
        """All versions of `asset` that are read, one for each partition."""
        return [version for version in self.versions if version.asset == asset]


@dataclass(frozen=True)
class Work:
    """What is needed to compute the outputs of one step."""

    inputs: Inputs
    folders: Mapping[str, Path]
    """The staging folder of each output, by name."""
    scratch: Path
    """For files that LazyFrames read; removed after the publication."""
    fingerprint: str


Compute = Callable[[Work], Mapping[str, Content]]
"""→ contents by output name."""


def publish(
    context: dg.AssetExecutionContext,
    lake: Lake,
    compute: Compute,
    *,
    partition: Partition,
    inputs: Sequence[tuple[str, Partition]] = (),
    config: Mapping[str, Any],
    shared: bool = False,
    still_valid: Callable[[Version], bool] = lambda version: True,
) -> Results:
    """Yields the check results and the materialisation of each output that this step has to make.

    Args:
        context: of the asset.
        lake: where versions are read and published.
        compute: called only when an output is missing, or was made from something else.
        partition: of the outputs.
        inputs: assets and partitions whose current versions are read.
        config: everything else that the outputs depend on, as JSON values.
        shared: the content does not depend on the partition's last part; a version that another experiment published
            from the same inputs is taken over.
        still_valid: whether a version made from the same things may be reused; for what lives outside the lake.

    Raises:
        NotMaterialised: an input has no version yet.
        dg.Failure: a check that blocks has failed; nothing was published.
    """
    outputs = sorted(key.to_user_string() for key in context.selected_asset_keys)
    versions = Inputs([lake.require(asset, part) for asset, part in inputs])
    accepts = is_accepting(context.run.tags)
    if not accepts:
        reader = f"{', '.join(outputs)} of {partition_text(partition)}"
        refuse_accepted(accepted_in(versions.versions), f"What {reader} reads")
    fingerprint = _fingerprint(context, versions, config, shared)
    force = is_forced(context.run.tags)
    with ExitStack() as stack:
        for name in outputs:
            stack.enter_context(lake.writing(name, partition))
        current = {} if force else _current(lake, outputs, partition, fingerprint)
        if len(current) == len(outputs) and all(map(still_valid, current.values())):
            if not accepts:
                refuse_accepted(accepted_in(current.values()), f"What is published as {', '.join(outputs)}")
            context.log.info(f"{', '.join(outputs)} of {partition_text(partition)}: unchanged, reused")
            for name in outputs:
                yield from _results(current[name], reused="unchanged")
            return
        if shared and not force and len(outputs) == 1:
            twin = lake.twin(outputs[0], partition, fingerprint)
            if twin is not None:
                shown = partition_text(twin.partition)
                context.log.info(f"{outputs[0]} of {partition_text(partition)}: the same as of {shown}, shared")
                yield from _results(_take_over(lake, twin, partition, stack), reused=partition_text(twin.partition))
                return
        staged = {name: stack.enter_context(lake.staging(name, partition)) for name in outputs}
        scratch = stack.enter_context(lake.staging(outputs[0], partition))
        started = time.monotonic()
        versions = Inputs([with_ancestry(lake, version) for version in versions.versions])
        contents = compute(Work(versions, staged, scratch, fingerprint))
        if accepts:
            contents = {name: replace(one, checks=accepting(one.checks)) for name, one in contents.items()}
        # All are written and judged before the first is published.
        written = {name: _written(name, contents[name], staged[name]) for name in outputs}
        seconds = time.monotonic() - started - sum(content.waited_s for content in contents.values())
        context.log.info(_summary(written, partition, seconds))
        yield from _refuse_broken({name: outcome.checks for name, outcome in written.items()}, partition)
        for name in outputs:
            made = _Made(context.run.run_id, seconds, versions, fingerprint)
            yield from _published(context, lake, name, written[name], staged[name], partition, made)


@dataclass(frozen=True)
class _Written:
    """An output in its staging folder, judged."""

    n_rows: int | None
    """None when it holds no table."""
    metadata: Metadata
    checks: Sequence[Check]


def _written(name: str, content: Content, staged: Path) -> _Written:
    if content.table is None:
        return _Written(None, content.metadata, content.checks)
    path = staged / f"{name}.parquet"
    if isinstance(content.table, pl.DataFrame):
        n_rows = validate(content.table, TABLES[name])
        write_table(content.table, path)
    else:
        if isinstance(content.table, pl.LazyFrame):
            write_table(content.table, path)
        n_rows = validate(pl.scan_parquet(path, glob=False), TABLES[name])
    shown = dg.MetadataValue.md(preview(pl.scan_parquet(path, glob=False).head(PREVIEW_ROWS).collect()))
    metadata = {"dagster/row_count": n_rows, "preview": shown, **content.metadata}
    return _Written(n_rows, metadata, [Check("schema", True, {"rows": n_rows}), *content.checks])


def _summary(written: Mapping[str, _Written], partition: Partition, seconds: float) -> str:
    parts = [name if one.n_rows is None else f"{name} {one.n_rows:,} rows" for name, one in written.items()]
    return f"{', '.join(parts)} of {partition_text(partition)}: {seconds:.1f} s"


def _current(lake: Lake, outputs: Sequence[str], partition: Partition, fingerprint: str) -> dict[str, Version]:
    found = {name: lake.current(name, partition) for name in outputs}
    return {name: version for name, version in found.items() if version and version.fingerprint == fingerprint}


def _take_over(lake: Lake, twin: Version, partition: Partition, stack: ExitStack) -> Version:
    staged = stack.enter_context(lake.staging(twin.asset, partition))
    for name in twin.manifest["files"]:
        target = staged / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(twin.path(name))
    carried = {key: twin.manifest[key] for key in CARRIED if key in twin.manifest}
    return lake.publish(twin.asset, partition, staged, fingerprint=twin.fingerprint, manifest=carried)


def _refuse_broken(judged: Mapping[str, Sequence[Check]], partition: Partition) -> Iterator[dg.AssetCheckResult]:
    broken = [(name, c) for name, checks in judged.items() for c in checks if c.blocks and not c.passed]
    if not broken:
        return
    for name, checks in judged.items():
        yield from _check_results(name, checks)
    reasons = "; ".join(f"{name}, {c.name}: {c.detail.get('message', dict(c.detail))}" for name, c in broken)
    raise dg.Failure(
        f"{', '.join(judged)} of {partition_text(partition)}: not published. {reasons}. "
        f"The previous version stays readable.{f' {REMEDY}.' if any(c.is_leak for _, c in broken) else ''}",
        allow_retries=False,
    )


@dataclass(frozen=True)
class _Made:
    """How the outputs of one step came into being."""

    run_id: str
    seconds: float
    """Of the whole step, for all its outputs."""
    inputs: Inputs
    fingerprint: str


def _published(
    context: dg.AssetExecutionContext,
    lake: Lake,
    name: str,
    written: _Written,
    staged: Path,
    partition: Partition,
    made: _Made,
) -> Results:
    manifest = {
        "code_version": _code_version(context, name),
        "inputs": [
            {"asset": v.asset, "partition": list(v.partition), "data_version": v.data_version}
            for v in made.inputs.versions
        ],
        "ancestry": joined_ancestry(made.inputs.versions),
        "metadata": {key: to_json(value) for key, value in written.metadata.items()},
        "checks": [
            {"name": c.name, "passed": c.passed, "detail": dict(c.detail), "blocks": c.blocks} for c in written.checks
        ],
        "accepted_leaks": recorded(accepted_in(made.inputs.versions), _leaks(name, written.checks, made.run_id)),
        "run_id": made.run_id,
        "seconds": made.seconds,
    }
    version = lake.publish(name, partition, staged, fingerprint=made.fingerprint, manifest=manifest)
    yield from _results(version, reused=None)


def _leaks(name: str, checks: Sequence[Check], run_id: str) -> list[AcceptedLeak]:
    leaky = [verdict for verdict in checks if verdict.is_leak and not verdict.passed]
    return [AcceptedLeak(name, verdict.name, str(verdict.detail["message"]), run_id) for verdict in leaky]


def _results(version: Version, *, reused: str | None) -> Results:
    manifest = version.manifest
    checks = [Check(c["name"], c["passed"], c["detail"], c["blocks"]) for c in manifest["checks"]]
    yield from _check_results(version.asset, checks)
    metadata = {key: from_json(value) for key, value in manifest["metadata"].items()}
    if version.asset in TABLES:
        metadata["dagster/column_schema"] = column_schema(version.asset)
    if version.asset in LINEAGE:
        metadata["dagster/column_lineage"] = column_lineage(version.asset)
    leaks = accepted_leaks(version)
    if leaks:
        metadata["accepted_leaks"] = dg.MetadataValue.md("\n".join(f"- {leak.name}: {leak.reasons}" for leak in leaks))
    metadata["reused"] = reused or "no"
    metadata["published_at"] = manifest["published_at"]
    if "seconds" in manifest:  # versions published before it was recorded have none
        metadata["seconds"] = manifest["seconds"]
    metadata["made_by_run"] = dg.MetadataValue.dagster_run(manifest["run_id"])
    metadata["folder"] = dg.MetadataValue.path(version.folder)
    metadata["bytes"] = sum(entry["bytes"] for entry in manifest["files"].values())
    metadata["inputs"] = dg.MetadataValue.json(manifest["inputs"])
    metadata["fingerprint"] = version.fingerprint
    yield dg.MaterializeResult(
        asset_key=version.asset, metadata=metadata, data_version=dg.DataVersion(version.data_version)
    )


def _check_results(asset: str, checks: Sequence[Check]) -> Iterator[dg.AssetCheckResult]:
    for verdict in checks:
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=verdict.name,
            passed=verdict.passed,
            severity=dg.AssetCheckSeverity.ERROR if verdict.blocks else dg.AssetCheckSeverity.WARN,
            metadata=in_plain_words(verdict.detail),
        )


def _fingerprint(context: dg.AssetExecutionContext, inputs: Inputs, config: Mapping[str, Any], shared: bool) -> str:
    made_from = {
        "assets": {
            key.to_user_string(): _code_version(context, key.to_user_string()) for key in context.selected_asset_keys
        },
        "inputs": sorted((v.asset, () if shared else v.partition, v.data_version) for v in inputs.versions),
        "config": config,
    }
    leaks = accepted_in(inputs.versions)
    if leaks:  # the same table with and without a leak that its probe found has one data version
        made_from["accepted_leaks"] = sorted(leak.name for leak in leaks)
    return fingerprint_of(made_from)


def _code_version(context: dg.AssetExecutionContext, asset: str) -> str:
    version = context.assets_def.code_versions_by_key[dg.AssetKey(asset)]
    assert version is not None  # a contract test holds every asset to it
    return version
