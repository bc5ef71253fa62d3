"""Preference optimisation: the policy learns to prefer each row's target over the negatives mined for it.

python -m training.preference SPEC.json     a contracts.config.PreferenceSpec in, OUTPUT/policy/ out
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from contracts.config import PreferenceSpec, identity
from training.command import LAST_GOOD_POLICY, POLICY, run_command
from training.loop.telemetry import Telemetry

if TYPE_CHECKING:
    from training.criteria.preferred import Preferred
    from training.engine.policy import Policy
    from training.engine.windows import Windows

ROWS_CHECKED = 512
LARGEST_DRIFT = {False: 1e-2, True: 0.5}
"""Nats by which the policy may differ from its reference before training: rounding in float32, and in bf16."""


def train(spec: PreferenceSpec, telemetry: Telemetry) -> dict[str, float]:
    """Trains the policy in `start_policy`; returns the validation metrics of the weights that were kept."""
    import numpy as np
    import torch

    from training.criteria.preferred import PreferenceTable, Preferred
    from training.criteria.win_rate_probe import WinRateProbe
    from training.engine.device import prepare_device
    from training.engine.policy import fit_context
    from training.engine.windows import find_windows
    from training.io.policy_folder import PolicyCard, Selection, load_policy, read_card
    from training.io.readers import read_preference_rows, read_reference_logps, read_rows
    from training.io.rows import sampled_rows
    from training.loop.loop import fit_and_save
    from training.loop.workers import worker_seed
    from training.representations.candidate_prompts import refuse_unlisted, with_drawn, with_given

    experiment = spec.experiment
    device = prepare_device(spec.compute)
    start = read_card(spec.start_policy)
    policy = load_policy(spec.start_policy, device, adapter_seed=experiment.seed)
    if spec.compute.gradient_checkpointing:
        policy.recompute_activations()
    n_items = policy.catalogue_of(spec.items)
    experiment.budget.require_protocol(start.representation)
    rows = with_drawn(
        read_rows(spec.histories, "train", n_items), policy.vocabulary, spec.interactions, telemetry.progress
    )
    rows, cut = fit_context(rows, policy.vocabulary, policy.context)
    validation = with_given(read_rows(spec.histories, "validation", n_items), policy.vocabulary, spec.candidate_sets)
    validation = sampled_rows(validation, experiment.budget.validation_rows)
    validation, validation_cut = fit_context(validation, policy.vocabulary, policy.context)
    preferences = read_preference_rows(spec.preference_rows, rows, n_items)
    refuse_unlisted(rows, preferences, spec.preference_rows)
    for name, n_rows in (("validation", len(validation)), ("preference", len(preferences.row))):
        if n_rows == 0:
            raise ValueError(f"{name} rows must not be empty, got none. Rebuild the tables named in the specification.")
    n_rejected = preferences.rejected.lengths
    rejected = preferences.rejected.padded(-1)
    items = np.concatenate(
        [preferences.chosen[:, None], np.where(rejected < 0, preferences.chosen[:, None], rejected)], axis=1
    )
    is_asked = np.arange(items.shape[1]) <= n_rejected[:, None]
    row_id = np.broadcast_to(rows.row_id[preferences.row, None], items.shape)
    reference = np.zeros(items.shape, dtype=np.float32)
    reference[is_asked] = read_reference_logps(spec.reference_logps, row_id[is_asked], items[is_asked])
    line = np.full(len(rows), -1)
    line[preferences.row] = np.arange(len(preferences.row))
    windows = find_windows(rows).keep(line >= 0)
    generator = None
    if experiment.objective.needs_generator:
        generator = torch.Generator(device.device).manual_seed(worker_seed(experiment.seed))
    criterion = Preferred(
        experiment.objective,
        PreferenceTable(line, items.astype(np.int32), n_rejected, reference),
        policy.vocabulary.completions.lengths,
        generator,
        WinRateProbe(policy, validation, spec.compute.micro_batch_tokens),
    )
    _check_reference(policy, windows, criterion, spec)
    telemetry.write(
        "diagnostic",
        {
            "train_rows": len(preferences.row),
            "train_windows": len(windows),
            "validation_users": len(np.unique(validation.user_id)),
            "rows_cut_to_context": cut,
            "validation_rows_cut_to_context": validation_cut,
            "duplicate_negatives_dropped": preferences.n_duplicates,
            "negatives_per_row": float(n_rejected.mean()),
            "parameters_trained": sum(weight.numel() for weight in policy.trained_parameters().values()),
        },
    )
    card = PolicyCard(
        representation=start.representation,
        backbone=start.backbone,
        n_items=n_items,
        context=start.context,
        experiment=experiment,
        identity=identity(experiment),
        start=start.files["model.safetensors"],
        selection=Selection(metric=experiment.budget.select_by, value=0.0, step=0),
    )
    return fit_and_save(policy, windows, validation, criterion, card, spec, telemetry)


def _check_reference(policy: "Policy", windows: "Windows", criterion: "Preferred", spec: PreferenceSpec) -> None:
    """Before the first step policy and reference are one: a table of another policy is refused."""
    import numpy as np

    n_windows = int(np.searchsorted(windows.members.offsets[1:], ROWS_CHECKED)) + 1
    some = windows.take(np.arange(min(n_windows, len(windows))))
    drift = criterion.largest_log_ratio(policy, some, max_tokens=spec.compute.micro_batch_tokens, max_rows=ROWS_CHECKED)
    if not drift <= LARGEST_DRIFT[policy.device.is_bf16]:
        raise ValueError(
            f"reference_logps must be those of the starting policy, got {spec.reference_logps}, which differs by "
            f"{drift:.3g} nats from {spec.start_policy}. Compute the reference log-probabilities with that policy."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return run_command(PreferenceSpec, train, (POLICY, LAST_GOOD_POLICY), arguments, shares_work=True)


if __name__ == "__main__":
    sys.exit(main())
