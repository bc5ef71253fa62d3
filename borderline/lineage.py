"""Lineage in words, both ways: from a registered version or a table up to the raw files, and down to the versions."""

from collections.abc import Sequence

from assets.lake.freshness import ancestors, raw_files
from assets.lake.ports import RegisteredVersion, Tracker
from assets.lake.versions import Lake, NotMaterialised, Version, partition_text
from borderline.versions import named_version
from contracts.files.yaml_lines import ConfigurationError
from contracts.words import POLICY_ASSETS
from orchestration.resources.mlflow_runs import MlflowTracker


def described(lake: Lake, tracker: MlflowTracker, dataset: str, of: str) -> str:
    """The lineage of a version (`3`, `@champion`) or of a table or policy (`histories`, `sft_policies/sft`).

    Raises:
        ConfigurationError: there is no such version, or nothing is called so.
        NotMaterialised: there is no such table yet.
    """
    if of.startswith("@") or of.isdigit():
        tracker.prepare(dataset)
        return _of_version(lake, tracker, dataset, of)
    version = named_version(lake, dataset, of, also=("3", "@champion"))
    tracker.prepare(dataset)
    return "\n".join([*_upwards(lake, version), "", *_downwards(tracker, dataset, version)])


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
    for asset in reversed(POLICY_ASSETS.values()):
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
