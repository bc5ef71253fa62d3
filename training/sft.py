"""Supervised fine-tuning: the policy learns to predict every next item of a history.

python -m training.sft SPEC.json     a contracts.config.SftSpec in, OUTPUT/policy/ out
"""

import sys
from collections.abc import Sequence

from contracts.config import SftSpec
from training.command import LAST_GOOD_POLICY, POLICY, run_command
from training.loop.telemetry import TelemetryWriter


def train(spec: SftSpec, telemetry: TelemetryWriter) -> dict[str, float]:
    """Trains a policy from scratch or from a base model; returns its validation metrics."""
    # seconds of loading, which a wrong specification does not wait for
    from training.criteria.next_item import NextItem
    from training.criteria.sampled_next_item import SampledNextItem
    from training.engine.device import prepare_device
    from training.engine.windows import find_windows
    from training.io.base_model import weights_sha256
    from training.io.fresh_policy import fresh_policy
    from training.io.policy_folder import PolicyCard
    from training.loop.loop import Run
    from training.loop.train_and_save import train_and_save
    from training.representations.candidate_prompts import refuse_long_lists
    from training.representations.prompted_rows import train_rows, validation_rows

    experiment, backbone = spec.experiment, spec.experiment.backbone
    policy, notes = fresh_policy(spec, prepare_device(spec.compute))
    if spec.compute.gradient_checkpointing:
        policy.recompute_activations()
    vocabulary, context, n_validation = policy.vocabulary, policy.context, experiment.budget.validation_rows
    refuse_long_lists(vocabulary, context, spec.candidate_sets)
    rows, n_cut = train_rows(spec.histories, spec.interactions, vocabulary, context, telemetry.progress)
    validation, n_validation_cut = validation_rows(
        spec.histories, spec.candidate_sets, vocabulary, context, n_validation
    )
    for split, table in (("train", rows), ("validation", validation)):
        if len(table) == 0:
            raise ValueError(f"histories must have {split} rows, got none in {spec.histories}.")
    windows = find_windows(rows)
    telemetry.write(
        "diagnostic",
        {
            "train_rows": len(rows),
            "train_windows": len(windows),
            "validation_rows": len(validation),
            "rows_cut_to_context": n_cut,
            "validation_rows_cut_to_context": n_validation_cut,
            "parameters_trained": policy.n_trained,
            **notes,
        },
    )
    criterion = (
        SampledNextItem(rows, experiment.loss, vocabulary.n_items, experiment.seed)
        if experiment.loss.kind == "sampled_softmax"
        else NextItem(rows)
    )
    card = PolicyCard.of(
        experiment,
        representation=experiment.representation,
        backbone=backbone,
        n_items=vocabulary.n_items,
        start=weights_sha256(backbone) if backbone.kind == "checkpoint" else None,
    )
    run = Run(policy, windows, validation, criterion, experiment, spec.compute, telemetry, spec.keeps_repeats)
    return train_and_save(run, card, spec)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return run_command(SftSpec, train, (POLICY, LAST_GOOD_POLICY), arguments, shares_work=True)


if __name__ == "__main__":
    sys.exit(main())
