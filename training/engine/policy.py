"""A policy: a causal language model over a representation, which gives each item a log-probability after each history.

Dimensions: r rows, v vocabulary, c items scored per row, t tokens, d hidden.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.engine.attention import PassLayout
from training.engine.device import CPU, Device
from training.engine.logps import item_logits, item_logps, path_logps, prompt_ends
from training.engine.tree import Nodes, grow, lay_out_pass
from training.engine.windows import Trunks
from training.io.readers import read_n_items
from training.representations import Representation

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class Policy:
    """Trained and scored through this class only, whatever the representation and the backbone are."""

    def __init__(
        self,
        model: "PreTrainedModel",
        vocabulary: Representation,
        context: int,
        *,
        adapter: "PeftModel | None" = None,
        device: Device = CPU,
    ) -> None:
        self.vocabulary, self.context, self.device = vocabulary, context, device
        tokens = vocabulary.completions
        self.is_direct = len(vocabulary.bridge) == 0 and np.array_equal(tokens.values, np.arange(len(tokens)))
        """Whether item k is only token k, so that the state after a history scores the whole catalogue."""
        self.adapter = adapter
        """Attached to the model already: with it disabled, the frozen weights answer."""
        self.model = model.to(device.device)  # pyright: ignore[reportArgumentType]
        self.model.eval()

    def catalogue_of(self, items: Path) -> int:
        """Size of the catalogue in the table `items`.

        Raises:
            ValueError: this policy was trained on another one.
        """
        n_items = read_n_items(items)
        if n_items != self.vocabulary.n_items:
            raise ValueError(
                f"policy must score the {n_items} items in {items}, got one that scores {self.vocabulary.n_items}. "
                "Train it on this catalogue."
            )
        return n_items

    def recompute_activations(self) -> None:
        """From now on the backward pass computes activations again instead of keeping them."""
        self.model.activation_checkpointing_enable({"use_reentrant": False})

    @property
    def head(self) -> Float[Tensor, "v d"]:
        """The rows of the output embedding that a completion can hold."""
        weight: Tensor = self.model.get_output_embeddings().weight  # pyright: ignore[reportAssignmentType,reportOptionalMemberAccess]
        return weight[: self.vocabulary.n_scored]

    def hidden(self, trunks: Trunks, nodes: Nodes | None = None) -> Float[Tensor, "t d"]:
        """The hidden states of all tokens of a pass, in float32 or the precision of the device: trunks, then nodes."""
        positions, layout = lay_out_pass(trunks.offsets, nodes, self.device.device)
        tokens = trunks.tokens if nodes is None else np.concatenate([trunks.tokens, nodes.tokens])
        return self.run(tokens, positions, layout)

    def run(
        self, tokens: Int[np.ndarray, " t"], positions: Int[np.ndarray, " t"], layout: PassLayout
    ) -> Float[Tensor, "t d"]:
        """The hidden states of tokens that are laid out already."""
        with self.device.autocast():
            return self.model.base_model(
                input_ids=self.tensor(tokens[None]),
                position_ids=self.tensor(positions[None]),
                use_cache=False,
                layout=layout,
            ).last_hidden_state[0]

    def states(self, trunks: Trunks) -> Float[Tensor, "r d"]:
        """The hidden state at the end of each row's prompt: one pass, however many rows hang on a trunk."""
        starts = trunks.offsets[:-1][trunks.window]
        return prompt_ends(self.hidden(trunks), self.tensor(starts), self.tensor(trunks.prompt_tokens))

    def item_logps(self, trunks: Trunks, items: Int[np.ndarray, "r c"]) -> Float[Tensor, "r c"]:
        """Log-probability of each row's items after its history, in nats; differentiable.

        One pass: what prompts and completions have in common is computed once.
        """
        if self.is_direct:
            return item_logps(self.states(trunks), self.head, self.tensor(items))
        c = items.shape[1]
        paths = self.vocabulary.completions.take(items.reshape(-1))
        bridge = self.vocabulary.bridge
        if len(bridge):
            paths = paths.preceded(bridge)
        nodes, predictions = grow(
            trunks.tokens,
            trunks.offsets,
            np.repeat(trunks.window, c),
            np.repeat(trunks.prompt_tokens, c),
            paths,
            len(bridge),
        )
        return path_logps(self.hidden(trunks, nodes), self.head, predictions, items.size).view(-1, c)

    def item_logits(self, trunks: Trunks, items: Int[np.ndarray, "r c"]) -> Float[Tensor, "r c"]:
        """`item_logps` up to a sum of each row's own, where an item is one token: only items asked for are computed."""
        if not self.is_direct:
            raise ValueError("logits of items must be asked of a policy with one token an item, got one with several.")
        return item_logits(self.states(trunks), self.head, self.tensor(items))

    def tensor(self, array: np.ndarray) -> Tensor:
        """The array on the policy's device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device.device)

    def trained_parameters(self) -> dict[str, torch.nn.Parameter]:
        """What an optimizer may change: everything, or only the adapter."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    @property
    def n_trained(self) -> int:
        """How many numbers an optimizer may change."""
        return sum(weight.numel() for weight in self.trained_parameters().values())

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the trained parameters, in host memory."""
        return {name: weight.detach().cpu().clone() for name, weight in self.trained_parameters().items()}

    @torch.no_grad()
    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Puts a snapshot back."""
        for name, weight in self.trained_parameters().items():
            weight.copy_(snapshot[name])

    @contextmanager
    def in_evaluation(self) -> Iterator[None]:
        """Dropout is off inside; afterwards the model is in the mode it was in."""
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)
