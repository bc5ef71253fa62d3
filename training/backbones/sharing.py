"""Whether a backbone may share prompts: both ways on a few tokens, with log-probabilities and gradients compared."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from contracts.config import CheckpointBackbone
from training.engine.attention import ATTENTION
from training.engine.logps import path_logps
from training.engine.tree import grow, lay_out_pass
from training.io.ragged import Ragged

TOKENS = 28
LARGEST_DIFFERENCE = {torch.float32: 1e-3, torch.float64: 1e-6, torch.bfloat16: 0.3, torch.float16: 0.1}
"""What rounding explains: nats per token, and as a share of the gradient's norm."""
ADVICE = "Choose a decoder-only transformer with full causal attention, such as Llama, Qwen or GPT-2."


def refuse_unshareable(model: Any, config: CheckpointBackbone) -> None:
    """Stops where a shared prompt would not give what a prompt of its own gives.

    Sliding windows and positions that depend on the longest text are known by their configuration: a text shorter than
    the window shows nothing. Everything else is found by doing both on a few tokens: recurrence, attention of another
    kind, states that more than the output layer turns into logits.

    Raises:
        ValueError: naming the architecture.
    """
    text = model.config.get_text_config()
    name = f"{config.name} ({text.model_type})"
    window = getattr(text, "sliding_window", None) or getattr(text, "attention_window_size", None)
    if window is not None and window < config.context:
        raise ValueError(
            f"the backbone must attend to the whole context of {config.context} tokens, got {name} with a sliding "
            f"window of {window}. Lower backbone.context to {window}. {ADVICE}"
        )
    longest = getattr(text, "max_position_embeddings", None) or config.context
    if longest < config.context:
        raise ValueError(
            f"backbone.context must be at most the {longest} positions that {name} knows, got {config.context}. "
            "Lower it."
        )
    for rope in _ropes(text):
        before = rope.get("original_max_position_embeddings") or longest
        if rope.get("rope_type") == "longrope" and before < config.context:
            raise ValueError(
                f"backbone.context must be at most {before} tokens for {name}, got {config.context}: beyond them its "
                "positions (longrope) depend on the longest text that is read beside. Lower it."
            )
    head = model.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        raise ValueError(f"the backbone's output layer must be without bias, got {name} with one. {ADVICE}")
    shared, alone = _both_ways(model, name)
    largest = max(LARGEST_DIFFERENCE.get(weight.dtype, 0.0) for weight in model.parameters())  # the least precise
    for what, unit, differs in (
        ("log-probabilities", " nats a token", float((shared[0] - alone[0]).abs().max())),
        ("gradients", " of their norm", float((shared[1] - alone[1]).norm() / alone[1].norm())),
    ):
        if not differs <= largest:
            raise ValueError(
                f"the backbone must give completions on a shared prompt the {what} that they have alone, got {name}, "
                f"which differs by {differs:.2g}{unit}. {ADVICE}"
            )


def _ropes(text: Any) -> Iterator[dict[str, Any]]:
    """The settings of rotary positions, of which some models have one for each kind of layer."""
    settings: dict[str, Any] = getattr(text, "rope_parameters", None) or {}
    yield from [settings] if "rope_type" in settings else [of for of in settings.values() if isinstance(of, dict)]


Pass = tuple[Tensor, Tensor]
"""Log-probabilities of completions in nats per token, and the gradient of their sum at each embedded token."""


def _both_ways(model: Any, name: str) -> tuple[Pass, Pass]:
    """Four completions, three of them at two places of one history: in one pass, and each with a prompt of its own."""
    n_tokens = model.get_input_embeddings().weight.shape[0]
    tokens = torch.randperm(n_tokens, generator=torch.Generator().manual_seed(0))[:TOKENS]
    tokens = np.resize(tokens.numpy(), TOKENS)
    trunks = Ragged(tokens[:18], np.array([0, 11, 18]))
    window, prompt = np.array([0, 0, 0, 1]), np.array([11, 11, 4, 7])
    paths = Ragged(tokens[18:], np.array([0, 3, 6, 8, 10]))
    was_training = model.training
    model.eval()
    try:
        shared = _shared(model, trunks, window, prompt, paths)
        model.set_attn_implementation("eager")
        alone = _alone(model, trunks, window, prompt, paths)
    except (TypeError, AttributeError, KeyError, RuntimeError, IndexError) as error:  # of models that know no layout
        raise ValueError(
            f"the backbone must be a transformer whose attention can be replaced, got {name}: {error}. {ADVICE}"
        ) from error
    finally:
        model.set_attn_implementation(ATTENTION)
        model.train(was_training)
    return shared, alone


def _shared(model: Any, trunks: Ragged, window: np.ndarray, prompt: np.ndarray, paths: Ragged) -> Pass:
    nodes, predictions = grow(trunks.values, trunks.offsets, window, prompt, paths, 0)
    positions, layout = lay_out_pass(trunks.offsets, nodes, model.device)
    with _Embedded(model) as embedded:
        hidden = model.base_model(
            input_ids=_line(np.concatenate([trunks.values, nodes.tokens]), model),
            position_ids=_line(positions, model),
            use_cache=False,
            layout=layout,
        ).last_hidden_state[0]
    logps = path_logps(hidden, model.get_output_embeddings().weight, predictions, len(paths))
    (gradient,) = torch.autograd.grad(logps.sum(), embedded.states)
    per_token = logps.detach().cpu() / torch.from_numpy(paths.lengths)
    return per_token, gradient[0, : len(trunks.values)].float().cpu()


def _alone(model: Any, trunks: Ragged, window: np.ndarray, prompt: np.ndarray, paths: Ragged) -> Pass:
    found: list[Tensor] = []
    gradient = torch.zeros(len(trunks.values), model.get_input_embeddings().weight.shape[1])
    for path in range(len(paths)):
        n, start = int(prompt[path]), int(trunks.offsets[window[path]])
        ids = _line(np.concatenate([trunks.values[start : start + n], paths[path]]), model)
        with _Embedded(model) as embedded:
            logits = model(input_ids=ids, use_cache=False).logits[0]
        logps = torch.log_softmax(logits[n - 1 : -1].float(), dim=-1).gather(1, ids[0, n:, None]).sum()
        (of_path,) = torch.autograd.grad(logps, embedded.states)
        gradient[start : start + n] += of_path[0, :n].float().cpu()
        found.append(logps.detach().cpu() / len(paths[path]))
    return torch.stack(found), gradient


def _line(values: np.ndarray, model: Any) -> Tensor:
    return torch.from_numpy(values).to(model.device)[None]


class _Embedded:
    """What a model makes of tokens before its first layer, as the leaf of a graph: gradients without any of weights.

    All that a weight's gradient is made of runs through it, and it costs no more memory than the tokens.
    """

    states: Tensor

    def __init__(self, model: Any) -> None:
        self.module: torch.nn.Module = model.get_input_embeddings()

    def __enter__(self) -> "_Embedded":
        def keep(_: Any, __: Any, output: Tensor) -> Tensor:
            self.states = output.detach().requires_grad_()
            return self.states

        self.handle = self.module.register_forward_hook(keep)
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.remove()
