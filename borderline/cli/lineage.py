"""Lineage in words, both ways: from a registered version or a table up to the raw files, and down to the versions."""

from collections.abc import Sequence

import dagster as dg

from assets.lake.freshness import ancestors, raw_files
from assets.lake.ports import RegisteredVersion, Tracker
from assets.lake.versions import Lake, NotMaterialised, Version, partition_text
from contracts.files.load import ConfigurationError, did_you_mean
from orchestration.definitions import ASSET_MODULES
from orchestration.definitions import lake as this_lake
from orchestration.definitions import tracker as this_tracker

POLICIES = ("preference_policies", "sft_policies")


def described(dataset: str, of: str) -> str:
    """The lineage of a version (`3`, `@champion`) or of a table or policy (`histories`, `sft_policies/sft`).

    Raises:
        ConfigurationError: there is no such version, or nothing is called so.
        NotMaterialised: there is no such table yet.
    """
    lake, tracker = this_lake(), this_tracker()
    if of.startswith("@") or of.isdigit():
        tracker.prepare(dataset)
        return _of_version(lake, tracker, dataset, of)
    version = _published(lake, dataset, of)
    tracker.prepare(dataset)
    return "\n".join([*_upwards(lake, version), "", *_downwards(tracker, dataset, version)])


def _published(lake: Lake, dataset: str, of: str) -> Version:
    """The current version of a table or policy, by its name."""
    loaded = [each for each in dg.load_assets_from_modules(ASSET_MODULES) if isinstance(each, dg.AssetsDefinition)]
    assets = sorted(key.to_user_string() for each in loaded for key in each.keys)
    asset, _, experiment = of.partition("/")
    if asset not in assets:
        meant = did_you_mean(asset, assets)
        raise ConfigurationError(
            f"'{of}' must be a version, an alias, a table or a policy.{meant} "
            f"Accepted: 3, @champion, {', '.join(assets)}."
        )
    names = ["/".join([asset, *rest]) for in_dataset, *rest in lake.partitions(asset) if in_dataset == dataset]
    if of in names or not names:
        return lake.require(asset, (dataset, experiment) if experiment else (dataset,))
    raise ConfigurationError(f"{dataset} has no '{of}' yet.{did_you_mean(of, names)} Accepted: {', '.join(names)}.")


def _of_version(lake: Lake, tracker: Tracker, dataset: str, of: str) -> str:
    versions = tracker.versions(dataset)
    found = next((v for v in versions if of in (v.version, *(f"@{alias}" for alias in v.aliases))), None)
    if found is None:
        known = ", ".join(v.version + "".join(f" @{alias}" for alias in v.aliases) for v in versions)
        raise ConfigurationError(f"borderline-{dataset} has no version {of}. Accepted: {known or 'none yet'}.")
    lines = [
        f"borderline-{dataset} version {found.version}{''.join(f' @{alias}' for alias in found.aliases)}",
        f"  experiment {found.tags.get('experiment')}, MLflow run {found.run_id}, {found.url}",
        f"  Dagster run {found.tags.get('dagster.run_id')} of {found.tags.get('dagster.partition')}, code version "
        f"{found.tags.get('code_version')}",
    ]
    policy = _policy(lake, dataset, found)
    if policy is not None:
        return "\n".join([*lines, *_upwards(lake, policy)])
    lines.append(
        "  its policy is no longer the current one in the lake; what it was trained from, by the version's tags:"
    )
    lines += [
        f"    {name.removeprefix('table.')}  {value}" for name, value in sorted(found.tags.items()) if "table." in name
    ]
    lines += [
        f"    {name.removeprefix('raw.')}  sha256 {value}"
        for name, value in sorted(found.tags.items())
        if "raw." in name
    ]
    return "\n".join(lines)


def _policy(lake: Lake, dataset: str, version: RegisteredVersion) -> Version | None:
    for asset in POLICIES:
        try:
            policy = lake.require(asset, (dataset, version.tags.get("experiment", "")))
        except (NotMaterialised, ValueError):
            continue
        if policy.data_version == version.tags.get("policy"):
            return policy
    return None


def _upwards(lake: Lake, version: Version) -> list[str]:
    lines = [_line(0, f"{version.asset} of {partition_text(version.partition)}", version.data_version, version)]
    lines += _files(0, version)
    for ancestor in ancestors(lake, version):
        lines.append(_line(ancestor.depth, ancestor.name, ancestor.data_version, ancestor.version))
        if ancestor.version is not None:
            lines += _files(ancestor.depth, ancestor.version)
    return lines


def _line(depth: int, name: str, data_version: str, version: Version | None) -> str:
    indent = "  " * (depth + 1)
    if version is None:
        return f"{indent}{name}  {data_version}  (has been made anew since)"
    manifest = version.manifest
    return (
        f"{indent}{name}  {data_version}  {manifest['published_at'][:19]}  run {manifest['run_id']}  "
        f"code {manifest['code_version']}"
    )


def _files(depth: int, version: Version) -> Sequence[str]:
    return [f"{'  ' * (depth + 2)}{name}  sha256 {sha256}" for name, sha256 in raw_files(version).items()]


def _downwards(tracker: Tracker, dataset: str, version: Version) -> list[str]:
    tag = f"table.{'.'.join([version.asset, *version.partition[1:]])}"
    made = [
        found
        for found in tracker.versions(dataset)
        if version.data_version in (found.tags.get(tag), found.tags.get("policy"))
    ]
    if not made:
        return ["no registered version was made from it"]
    lines = ["registered versions made from it:"]
    for found in made:
        aliases = "".join(f" @{alias}" for alias in found.aliases)
        lines.append(f"  {found.version}{aliases}  {found.tags.get('experiment')}  {found.url}")
    return lines
