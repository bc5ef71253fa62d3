"""Find what is in the lake by the name that a person gives it: `histories`, `sft_policies/sft`."""

import dagster as dg

from assets.lake.versions import Lake, Version
from contracts.files.yaml_lines import ConfigurationError, did_you_mean
from orchestration.definitions import asset_modules


def named_version(lake: Lake, dataset: str, name: str, *, also: tuple[str, ...] = ()) -> Version:
    """The current version of a table or policy of a data set.

    Args:
        lake: where it is looked for.
        dataset: its key.
        name: of a table or policy; with `/` and the experiment, where each experiment has its own.
        also: names that the caller accepts besides, for the message.

    Raises:
        ConfigurationError: nothing is called so, or no experiment has one.
        NotMaterialised: it has not been made yet.
    """
    loaded = dg.load_assets_from_modules(asset_modules())
    made = [each for each in loaded if isinstance(each, dg.AssetsDefinition) and each.is_materializable]
    assets = sorted(key.to_user_string() for each in made for key in each.keys)
    asset, _, experiment = name.partition("/")
    if asset not in assets:
        meant = did_you_mean(asset, assets)
        versions = "a version, an alias, " if also else ""
        raise ConfigurationError(
            f"'{name}' must be {versions}a table or a policy.{meant} Accepted: {', '.join([*also, *assets])}."
        )
    names = ["/".join([asset, *rest]) for in_dataset, *rest in lake.partitions(asset) if in_dataset == dataset]
    if name in names or not names:
        return lake.require(asset, (dataset, experiment) if experiment else (dataset,))
    raise ConfigurationError(f"{dataset} has no '{name}' yet.{did_you_mean(name, names)} Accepted: {', '.join(names)}.")
