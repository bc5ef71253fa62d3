"""Supervised fine-tuning: the policy learns to predict every next item of a history.

python -m training.sft SPEC.json     a training.config.SftSpec in, OUTPUT/policy/ out
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from training.command import run_command
from training.config import SftSpec, identity
from training.telemetry import Telemetry

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from torch import Tensor

    from training.policy import Policy
    from training.tables import Rows


class NextItem:
    """The negative log-probability of the target. Dimensions: r rows."""

    generator = None

    def __init__(self, rows: "Rows") -> None:
        self.rows = rows

    def items(self, row: "Int[np.ndarray, ' r']") -> "Int[np.ndarray, 'r 1']":
        """The target."""
        return self.rows.target[row, None].astype("int64")

    def losses(self, row: "Int[np.ndarray, ' r']", logps: "Float[Tensor, 'r 1']") -> "Float[Tensor, ' r']":
        """In nats."""
        return -logps[:, 0]

    def diagnostics(self, row: "Int[np.ndarray, ' r']", logps: "Float[Tensor, 'r 1']") -> dict[str, float]:
        """None: the loss says it all."""
        return {}

    def probed(self, policy: "Policy") -> dict[str, float]:
        """None: the validation says it all."""
        return {}


def train(spec: SftSpec, telemetry: Telemetry) -> dict[str, float]:
    """Trains a policy from scratch or from a checkpoint; returns its validation metrics."""
    from training.backbones import (
        checkpoint_model,
        scratch_model,
    )  # seconds of loading: after the specification was read
    from training.checkpoint import PolicyCard, Selection
    from training.device import prepare_device
    from training.loop import fit_and_save
    from training.policy import Policy, fit_context
    from training.representations.items import ItemVocabulary
    from training.tables import read_n_items, read_rows
    from training.windows import find_windows

    experiment, backbone = spec.experiment, spec.experiment.backbone
    device = prepare_device(spec.compute)
    vocabulary = ItemVocabulary(read_n_items(spec.items))
    rows, cut = fit_context(read_rows(spec.histories, "train", vocabulary.n_items), vocabulary, backbone.context)
    validation, _ = fit_context(
        read_rows(spec.histories, "validation", vocabulary.n_items), vocabulary, backbone.context
    )
    for split, table in (("train", rows), ("validation", validation)):
        if len(table) == 0:
            raise ValueError(f"histories must have {split} rows, got none in {spec.histories}.")
    if backbone.kind == "scratch":
        model, lora = scratch_model(backbone, vocabulary.n_tokens, experiment.seed), None
    else:
        model, lora = checkpoint_model(backbone, vocabulary.n_tokens, experiment.seed), backbone.lora
    policy = Policy(model, vocabulary, backbone.context, lora=lora, seed=experiment.seed, device=device)
    windows = find_windows(rows)
    telemetry.write(
        "diagnostic",
        {
            "train_rows": len(rows),
            "train_windows": len(windows),
            "rows_cut_to_context": cut,
            "parameters_trained": sum(weight.numel() for weight in policy.trained_parameters().values()),
        },
    )
    card = PolicyCard(
        representation=experiment.representation,
        backbone=backbone,
        n_items=vocabulary.n_items,
        context=backbone.context,
        experiment=experiment,
        identity=identity(experiment),
        start=None,
        selection=Selection(metric=experiment.budget.select_by, value=0.0, step=0),
    )
    return fit_and_save(policy, windows, validation, NextItem(rows), card, spec, telemetry)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return run_command(SftSpec, train, "policy", arguments, shares_work=True)


if __name__ == "__main__":
    sys.exit(main())
