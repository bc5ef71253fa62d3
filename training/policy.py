"""A policy: a causal language model over a representation, which gives each item a log-probability after each history.

Dimensions: r rows, i items, c items scored per row, d hidden.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.attention import pack
from training.backbones import attach_lora
from training.config import LoraConfig
from training.device import CPU, Device
from training.logps import item_logps, prompt_ends
from training.representations.items import ItemVocabulary
from training.tables import Rows, read_n_items
from training.windows import Trunks

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class Policy:
    """Trained and scored through this class only, whatever the representation and the backbone are."""

    def __init__(
        self,
        model: "PreTrainedModel",
        vocabulary: ItemVocabulary,
        context: int,
        *,
        lora: LoraConfig | None = None,
        seed: int = 0,
        device: Device = CPU,
    ) -> None:
        self.vocabulary, self.context, self.device = vocabulary, context, device
        self.adapter: PeftModel | None = None if lora is None else attach_lora(model, lora, seed)
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

    @property
    def item_head(self) -> Float[Tensor, "i d"]:
        """The rows of the output embedding that are items."""
        weight: Tensor = self.model.get_output_embeddings().weight  # pyright: ignore[reportAssignmentType,reportOptionalMemberAccess]
        return weight[: self.vocabulary.n_items]

    def states(self, trunks: Trunks) -> Float[Tensor, "r d"]:
        """The hidden state at the end of each row's prompt: one pass, however many rows hang on a trunk."""
        starts, lengths = trunks.offsets[:-1], np.diff(trunks.offsets)
        positions = np.arange(len(trunks.tokens)) - np.repeat(starts, lengths)
        with self.device.autocast():
            hidden = self.model.base_model(
                input_ids=self.tensor(trunks.tokens[None]),
                position_ids=self.tensor(positions[None]),
                use_cache=False,
                packing=pack(trunks.offsets, self.device.device),
            ).last_hidden_state[0]
        return prompt_ends(hidden, self.tensor(starts[trunks.window]), self.tensor(trunks.prompt_tokens))

    def item_logps(self, trunks: Trunks, items: Int[Tensor, "r c"]) -> Float[Tensor, "r c"]:
        """Log-probability of each row's items after its history, in nats; differentiable."""
        return item_logps(self.states(trunks), self.item_head, items)

    def tensor(self, array: np.ndarray) -> Tensor:
        """The array on the policy's device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device.device)

    def trained_parameters(self) -> dict[str, torch.nn.Parameter]:
        """What an optimizer may change: everything, or the adapter alone."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the trained parameters, in host memory."""
        return {name: weight.detach().cpu().clone() for name, weight in self.trained_parameters().items()}

    @torch.no_grad()
    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Puts a snapshot back."""
        for name, weight in self.trained_parameters().items():
            weight.copy_(snapshot[name])

    def as_reference(self) -> AbstractContextManager[None]:
        """Within, the adapter is off: the policy is the one it started from."""
        if self.adapter is None:
            raise ValueError("the live reference must be a policy with an adapter, got one whose weights all train.")
        return self.adapter.disable_adapter()

    def merged_model(self) -> "PreTrainedModel":
        """The model with the adapter's change written into its weights; the policy must not be used afterwards."""
        return self.model if self.adapter is None else self.adapter.merge_and_unload()  # pyright: ignore[reportReturnType,reportCallIssue]


def fit_context(rows: Rows, policy_vocabulary: ItemVocabulary, context: int) -> tuple[Rows, int]:
    """The rows with histories cut to what the context holds (the oldest items go), and how many rows that cut."""
    longest = policy_vocabulary.longest_history(context)
    n_cut = int((rows.history.lengths > longest).sum())
    if n_cut == 0:
        return rows, 0
    return Rows(rows.row_id, rows.user_id, rows.history.last(longest), rows.target), n_cut
