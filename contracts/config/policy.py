"""What a policy is: how items become tokens, and the model behind them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from contracts.config.identity import Frozen


class ItemTokens(Frozen):
    """One token for each item of the catalogue."""

    kind: Literal["items"] = "items"


class SemanticIds(Frozen):
    """A few codes for each item, coarse to fine, from a given table."""

    kind: Literal["semantic_ids"]
    table: str
    """In the data set's raw folder: JSON (also gzipped), item → list of codes, or Parquet with columns item, codes."""
    keys: Literal["item", "rank"] = "item"
    """What the table calls an item: the publisher's id, or its 0-based rank among the sorted ids."""
    extend: bool = False
    """Adds a code that tells items with the same codes apart; without it, such items are refused."""


class CandidateList(Frozen):
    """The candidates that a prompt lists, one of which is the answer (LLaRA, https://arxiv.org/abs/2312.02445)."""

    n: int = Field(default=20, ge=2)
    """How many, the answer among them: as many as the candidate sets of the data set hold."""
    separator: str = Field(default="\n", min_length=1)
    """Between two titles of the list."""


class Titles(Frozen):
    """Items as text. Braces mark where text is cut before it becomes tokens."""

    kind: Literal["titles"]
    prompt: str = "Taken so far, oldest first:\n{history}"
    """Text around the lines of a history; text after {history} costs its tokens once for each training row."""
    candidates: CandidateList | None = None
    """Text at {candidates} in the prompt; without that place none. Then rows share no part of their prompts."""
    line: str = "{title}\n"
    """One item of a history."""
    end: str | None = None
    """Text that ends a title and is scored with it; the tokeniser's end token, when absent."""
    repeated: Literal["refuse", "number"] = "refuse"
    """What happens to items with the same title: the experiment is refused, or each gets its id behind the title."""
    vocabulary: int = Field(default=2048, ge=300)
    """Size of the tokeniser that is made from the catalogue when the backbone is `scratch`."""

    @model_validator(mode="after")
    def _has_its_places(self) -> "Titles":
        for name, text, place in (("prompt", self.prompt, "{history}"), ("line", self.line, "{title}")):
            if text.count(place) != 1:
                raise ValueError(f"{name} must hold {place} once, got {text!r}")
        wanted = "once, as candidates is given" if self.candidates else "nowhere, as candidates is not given"
        if self.prompt.count("{candidates}") != (self.candidates is not None):
            raise ValueError(f"prompt must hold {{candidates}} {wanted}, got {self.prompt!r}")
        return self


Representation = Annotated[ItemTokens | SemanticIds | Titles, Field(discriminator="kind")]


def candidates_in_prompt(representation: ItemTokens | SemanticIds | Titles) -> CandidateList | None:
    """The candidates that its prompts list; none, where they hold only a history."""
    return representation.candidates if isinstance(representation, Titles) else None


class ScratchBackbone(Frozen):
    """A small Llama-architecture causal language model with random initial weights."""

    kind: Literal["scratch"] = "scratch"
    hidden: int = Field(default=64, ge=8)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    context: int = Field(default=100, ge=2)
    """Longest prompt in tokens; of a longer history the oldest items are dropped, and counted."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the attention weights; Llama has no other."""
    hidden_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the embeddings, and on what every attention and feed-forward layer adds to them, as in SASRec."""

    @model_validator(mode="after")
    def _has_even_heads(self) -> "ScratchBackbone":
        if self.hidden % (2 * self.heads):  # positions turn pairs of numbers within each head
            raise ValueError(
                f"hidden must be a multiple of 2 × heads, {2 * self.heads}, got {self.hidden}. Change one of them."
            )
        return self


class LoraConfig(Frozen):
    """Low-rank adapters on a frozen checkpoint (https://arxiv.org/abs/2106.09685), through peft."""

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    targets: list[str] = Field(default=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])


class CheckpointBackbone(Frozen):
    """A decoder-only checkpoint in Hugging Face format: safetensors only, no remote code, pinned by revision."""

    kind: Literal["checkpoint"]
    name: str
    """A folder on this machine, or the name of a repository on the Hugging Face hub."""
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    """The 40-digit commit; required for a repository on the hub."""
    lora: LoraConfig | None = LoraConfig()
    context: int = Field(default=512, ge=2)
    quantization: Literal["nf4"] | None = None
    """4-bit weights under the adapters (https://arxiv.org/abs/2305.14314); needs CUDA, bitsandbytes and `lora`.

    Of supervised fine-tuning: the policy that is saved has its adapters merged in float32, and so has all that follows.
    """

    @model_validator(mode="after")
    def _quantized_weights_do_not_train(self) -> "CheckpointBackbone":
        if self.quantization is not None and self.lora is None:
            raise ValueError("quantization must come with lora, got none: 4-bit weights cannot be trained themselves")
        return self

    def require_pinned(self) -> None:
        """Refuses what is on the hub and can change tomorrow; asked when a training is set up, not when one is read.

        Raises:
            ValueError: neither a folder on this machine nor a revision.
        """
        is_folder = Path(self.name).is_absolute() or self.name.startswith(".") or Path(self.name).is_dir()
        if self.revision is None and not is_folder:
            raise ValueError(
                f"backbone.revision must be the 40-digit commit of a repository on the hub, got none for {self.name}. "
                "Copy it from the repository's history, or name a folder that exists."
            )


Backbone = Annotated[ScratchBackbone | CheckpointBackbone, Field(discriminator="kind")]
