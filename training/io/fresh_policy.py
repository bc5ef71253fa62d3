"""The policy of an SFT experiment before its first step: from scratch, or a base model with the catalogue's tokens."""

from contracts.config import SftSpec
from training.backbones.adapters import adapter_for
from training.backbones.pretrained import pretrained_model
from training.backbones.scratch import scratch_model
from training.engine.device import Device
from training.engine.policy import Policy
from training.io.readers import read_n_items, read_texts
from training.representations import titles
from training.representations.items import ItemVocabulary
from training.representations.semantic_ids import semantic_id_lists


def fresh_policy(spec: SftSpec, device: Device) -> tuple[Policy, dict[str, float]]:
    """The policy, and numbers about its tokens for telemetry.

    Raises:
        ValueError: a table or base model that does not fit the representation.
    """
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
            model = pretrained_model(backbone, None, seed, device)
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
    elif model is None:
        model = pretrained_model(backbone, vocabulary.n_tokens, seed, device)
    adapter = adapter_for(model, backbone, representation, seed)
    return Policy(model, vocabulary, backbone.context, adapter=adapter, device=device), notes
