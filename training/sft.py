"""Supervised fine-tuning: the policy learns to predict every next item of a history.

python -m training.sft SPEC.json     a contracts.config.SftSpec in, OUTPUT/policy/ out
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from contracts.config import SftSpec, identity
from training.command import LAST_GOOD_POLICY, POLICY, run_command
from training.loop.telemetry import Telemetry

if TYPE_CHECKING:
    from training.engine.device import Device
    from training.engine.policy import Policy


def train(spec: SftSpec, telemetry: Telemetry) -> dict[str, float]:
    """Trains a policy from scratch or from a checkpoint; returns its validation metrics."""
    from training.criteria.next_item import NextItem
    from training.criteria.sampled_next_item import SampledNextItem
    from training.engine.device import prepare_device
    from training.engine.policy import fit_context
    from training.engine.windows import find_windows
    from training.io.base_model import weights_sha256
    from training.io.policy_folder import PolicyCard, Selection  # seconds of loading: after the specification was read
    from training.io.readers import read_rows
    from training.io.rows import sampled_rows
    from training.loop.loop import fit_and_save
    from training.representations.candidate_prompts import refuse_long_lists, with_drawn, with_given

    experiment, backbone = spec.experiment, spec.experiment.backbone
    policy, notes = start(spec, prepare_device(spec.compute))
    if spec.compute.gradient_checkpointing:
        policy.recompute_activations()
    vocabulary = policy.vocabulary
    n_items = vocabulary.n_items
    refuse_long_lists(vocabulary, backbone.context, spec.candidate_sets)
    rows = with_drawn(read_rows(spec.histories, "train", n_items), vocabulary, spec.interactions, telemetry.progress)
    rows, cut = fit_context(rows, vocabulary, backbone.context)
    validation = with_given(read_rows(spec.histories, "validation", n_items), vocabulary, spec.candidate_sets)
    for split, table in (("train", rows), ("validation", validation)):
        if len(table) == 0:
            raise ValueError(f"histories must have {split} rows, got none in {spec.histories}.")
    windows = find_windows(rows)
    validation = sampled_rows(validation, experiment.budget.validation_rows)
    validation, validation_cut = fit_context(validation, vocabulary, backbone.context)
    telemetry.write(
        "diagnostic",
        {
            "train_rows": len(rows),
            "train_windows": len(windows),
            "validation_rows": len(validation),
            "rows_cut_to_context": cut,
            "validation_rows_cut_to_context": validation_cut,
            "parameters_trained": sum(weight.numel() for weight in policy.trained_parameters().values()),
            **notes,
        },
    )
    card = PolicyCard(
        representation=experiment.representation,
        backbone=backbone,
        n_items=n_items,
        context=backbone.context,
        experiment=experiment,
        identity=identity(experiment),
        start=weights_sha256(backbone) if backbone.kind == "checkpoint" else None,
        selection=Selection(metric=experiment.budget.select_by, value=0.0, step=0),
    )
    if experiment.loss.kind == "sampled_softmax":
        criterion = SampledNextItem(rows, experiment.loss, n_items, experiment.seed)
    else:
        criterion = NextItem(rows)
    return fit_and_save(policy, windows, validation, criterion, card, spec, telemetry)


def start(spec: SftSpec, device: "Device") -> "tuple[Policy, dict[str, float]]":
    """The policy before its first step, and what is to be said about its tokens."""
    from training.engine.backbones import checkpoint_model, scratch_model
    from training.engine.policy import Policy
    from training.io.readers import read_n_items, read_texts
    from training.representations import titles
    from training.representations.items import ItemVocabulary
    from training.representations.semantic_ids import semantic_id_lists

    representation, backbone, seed = spec.experiment.representation, spec.experiment.backbone, spec.experiment.seed
    n_items, notes = read_n_items(spec.items), dict[str, float]()
    model = None
    if representation.kind == "items":
        vocabulary = ItemVocabulary(n_items)
    elif representation.kind == "semantic_ids":
        if spec.codes is None:
            raise ValueError("codes must be the code table of an experiment on semantic ids, got none. Name its file.")
        vocabulary = semantic_id_lists(representation, spec.codes, read_texts(spec.items, "item"))
    else:
        texts, items = read_texts(spec.items, "title"), read_texts(spec.items, "item")
        if backbone.kind == "scratch":
            tokeniser, size = titles.trained_tokeniser(representation, texts), None
        else:
            tokeniser = titles.checkpoint_tokeniser(backbone)
            model = checkpoint_model(backbone, None, seed, device)
            size = int(model.get_output_embeddings().weight.shape[0])  # pyright: ignore[reportOptionalMemberAccess,reportArgumentType]
        vocabulary = titles.title_lists(representation, tokeniser, size, texts, items)
        notes = {
            "tokens_per_title": float(vocabulary.completions.lengths.mean()),
            "titles_cut_through": titles.titles_cut_through(representation, tokeniser, texts),
            "candidates_cut_through": titles.candidates_cut_through(representation, tokeniser, texts),
            "pad_is_another_token": float(tokeniser.pad_token_id is None),
        }
    if backbone.kind == "scratch":
        model = scratch_model(backbone, vocabulary.n_tokens, seed)
        return Policy(model, vocabulary, backbone.context, seed=seed, device=device), notes
    if model is None:
        model = checkpoint_model(backbone, vocabulary.n_tokens, seed, device)
    trains_ends = representation.kind != "titles"
    policy = Policy(
        model, vocabulary, backbone.context, lora=backbone.lora, seed=seed, trains_ends=trains_ends, device=device
    )
    return policy, notes


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return run_command(SftSpec, train, (POLICY, LAST_GOOD_POLICY), arguments, shares_work=True)


if __name__ == "__main__":
    sys.exit(main())
