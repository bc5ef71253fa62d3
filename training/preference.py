"""Preference optimisation: the policy learns to prefer each row's target over the negatives mined for it.

python -m training.preference SPEC.json     a contracts.config.PreferenceSpec in, OUTPUT/policy/ out
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from contracts.config import PreferenceSpec
from training.command import LAST_GOOD_POLICY, POLICY, run_command
from training.loop.telemetry import TelemetryWriter

if TYPE_CHECKING:
    from training.criteria.preferred import Preferred
    from training.engine.policy import Policy
    from training.engine.windows import Windows

ROWS_CHECKED = 512
LARGEST_DRIFT = {False: 1e-2, True: 0.5}
"""Nats by which the policy may differ from its reference before training: rounding in float32, and in bf16."""


def train(spec: PreferenceSpec, telemetry: TelemetryWriter) -> dict[str, float]:
    """Trains the policy in `start_policy`; returns the validation metrics of the weights that were kept."""
    # seconds of loading, which a wrong specification does not wait for
    import numpy as np

    from training.criteria.preferred import PreferenceTable, Preferred, generator_of
    from training.criteria.win_rate_probe import WinRateProbe
    from training.engine.device import prepare_device
    from training.engine.windows import find_windows
    from training.io.policy_folder import PolicyCard, load_policy, read_card
    from training.io.readers import read_preference_rows
    from training.loop.loop import Run
    from training.loop.train_and_save import train_and_save
    from training.loop.workers import worker_seed
    from training.representations.candidate_prompts import refuse_unlisted
    from training.representations.prompted_rows import train_rows, validation_rows

    experiment, device = spec.experiment, prepare_device(spec.compute)
    start = read_card(spec.start_policy)
    policy = load_policy(spec.start_policy, device, adapter_seed=experiment.seed)
    if spec.compute.gradient_checkpointing:
        policy.recompute_activations()
    n_items, vocabulary, context = policy.catalogue_of(spec.items), policy.vocabulary, policy.context
    experiment.budget.require_protocol(start.representation)
    rows, n_cut = train_rows(spec.histories, spec.interactions, vocabulary, context, telemetry.progress)
    validation, n_validation_cut = validation_rows(
        spec.histories, spec.candidate_sets, vocabulary, context, experiment.budget.validation_rows
    )
    preferences = read_preference_rows(spec.preference_rows, rows, n_items)
    refuse_unlisted(rows, preferences, spec.preference_rows)
    for name, n_rows in (("validation", len(validation)), ("preference", len(preferences.row))):
        if n_rows == 0:
            raise ValueError(f"{name} rows must not be empty, got none. Rebuild the tables named in the specification.")
    table = PreferenceTable.read(preferences, rows, spec.reference_logps)
    windows = find_windows(rows).keep(table.line >= 0)
    criterion = Preferred(
        experiment.objective,
        table,
        vocabulary.completions.lengths,
        generator_of(experiment.objective, device, worker_seed(experiment.seed)),
        WinRateProbe(policy, validation, spec.compute.micro_batch_tokens),
    )
    _check_reference(policy, windows, criterion, spec)
    telemetry.write(
        "diagnostic",
        {
            "train_rows": len(preferences.row),
            "train_windows": len(windows),
            "validation_users": len(np.unique(validation.user_id)),
            "rows_cut_to_context": n_cut,
            "validation_rows_cut_to_context": n_validation_cut,
            "duplicate_negatives_dropped": preferences.n_duplicates,
            "negatives_per_row": float(table.n_rejected.mean()),
            "parameters_trained": policy.n_trained,
        },
    )
    card = PolicyCard.of(
        experiment,
        representation=start.representation,
        backbone=start.backbone,
        n_items=n_items,
        start=start.files["model.safetensors"],
    )
    run = Run(policy, windows, validation, criterion, experiment, spec.compute, telemetry, spec.keeps_repeats)
    return train_and_save(run, card, spec)


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
