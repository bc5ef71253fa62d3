"""The ways in which others compute a preference step, for `train_step.py`: faithful in what they repeat and keep.

Each gets a plain Hugging Face model and answers with the summed log-probabilities of the K + 1 completions of each
history; what distinguishes them is the work. Dimensions: b histories, n = K + 1 completions, p prompt tokens, c tokens
of a completion, v vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Work:
    """One step's data: every history has as many completions of as many tokens."""

    prompts: Int[Tensor, "b p"]
    completions: Int[Tensor, "b n c"]

    @property
    def repeated(self) -> Int[Tensor, "bn p+c"]:
        """Each completion behind a prompt of its own: chosen first, then the rejected ones, as trainers lay it out."""
        b, n, _ = self.completions.shape
        prompts = self.prompts[:, None].expand(b, n, -1)
        return torch.cat([prompts, self.completions], dim=-1).transpose(0, 1).reshape(b * n, -1)


def official(model: Any, work: Work, reference: Any | None) -> tuple[Tensor, Tensor | None]:
    """As the trainers of S-DPO, DMPO and DynamicPO: prompt repeated, float32 logits of every position, live reference.

    Their `concatenated_forward` and `_get_batch_logps`: labels are -100 in the prompt, the log-softmax goes over the
    whole sequence, and what is not labelled is multiplied by zero afterwards.
    """
    tokens = work.repeated
    labels = tokens.clone()
    labels[:, : work.prompts.shape[1]] = -100

    def logps(of: Any) -> Tensor:
        logits = of(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits.to(torch.float32)
        shifted, mask = labels[:, 1:].clone(), labels[:, 1:] != -100
        shifted[~mask] = 0
        per_token = torch.gather(logits[:, :-1].log_softmax(-1), 2, shifted[..., None])[..., 0]
        return _by_history((per_token * mask).sum(-1), work)

    if reference is None:
        return logps(model), None
    with torch.no_grad():
        of_reference = logps(reference)
    return logps(model), of_reference


def completion_logits_only(model: Any, work: Work) -> Tensor:
    """Prompt repeated, but no reference, and logits only where a completion token is predicted."""
    tokens, p = work.repeated, work.prompts.shape[1]
    hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state[:, p - 1 : -1]
    logits = model.get_output_embeddings()(hidden).to(torch.float32)
    per_token = torch.gather(logits.log_softmax(-1), 2, tokens[:, p:, None])[..., 0]
    return _by_history(per_token.sum(-1), work)


def one_plain_pass(model: Any, work: Work) -> Tensor:
    """What any one pass over these tokens takes at least, and no way to the answer: one causal sequence without a mask.

    Prompt and completions stand behind one another, and logits are taken where a completion token is predicted. Later
    completions see earlier ones, so the numbers are others'; the products of matrices are those of sharing the prompt.
    """
    b, p = work.prompts.shape
    tokens = torch.cat([work.prompts, work.completions.reshape(b, -1)], dim=1)
    hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state[:, p - 1 : -1]
    logits = model.get_output_embeddings()(hidden).to(torch.float32)
    per_token = torch.gather(logits.log_softmax(-1), 2, tokens[:, p:, None])[..., 0]
    return per_token.reshape(work.completions.shape).sum(-1)


def dmpo(logps: Float[Tensor, "b n"], reference: Float[Tensor, "b n"]) -> Tensor:
    """The objective of every contestant: DMPO with beta 1."""
    ratio = logps - reference
    return -F.logsigmoid(ratio[:, 0] - ratio[:, 1:].mean(dim=1)).mean()


def _by_history(logps: Tensor, work: Work) -> Tensor:
    b, n, _ = work.completions.shape
    return logps.reshape(n, b).T


def trl_loss(model: Any, work: Work) -> Any:
    """The forward pass of TRL's DPOTrainer at K = 1, with precomputed reference log-probabilities.

    The trainer is built on a tokeniser and two rows made here; only its forward pass is used, on our tokens.
    """
    import logging
    import tempfile
    import warnings

    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer  # pyright: ignore[reportMissingImports]

    import datasets  # with trl, of the extra `bench`

    datasets.disable_progress_bars()  # pyright: ignore[reportAttributeAccessIssue]  # it takes datasets/ for it
    logging.disable(logging.WARNING)  # of a data set that is never used
    warnings.filterwarnings("ignore")
    words = {f"w{place}": place for place in range(model.config.vocab_size - 2)}
    words |= {"<pad>": len(words), "<end>": len(words) + 1}
    tokeniser = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<pad>")), pad_token="<pad>", eos_token="<end>"
    )
    rows = datasets.Dataset.from_list([{"prompt": "w1", "chosen": "w2", "rejected": "w3"}] * 2)  # pyright: ignore[reportAttributeAccessIssue]
    settings = DPOConfig(
        output_dir=tempfile.mkdtemp(), report_to=[], use_cpu=not torch.cuda.is_available(), bf16=False, max_length=None,
        disable_tqdm=True,
        gradient_checkpointing=False, precompute_ref_log_probs=True,
    )  # fmt: skip
    trainer = DPOTrainer(model=model, args=settings, train_dataset=rows, processing_class=tokeniser)
    tokens, p = work.repeated, work.prompts.shape[1]
    is_completion = torch.zeros_like(tokens)
    is_completion[:, p:] = 1
    labels = tokens.masked_fill(is_completion == 0, -100)

    def logps() -> tuple[Tensor, None]:
        outputs = trainer.model(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False, labels=labels, fused_lm_head=True
        )
        return _by_history(outputs.log_probs[:, -(tokens.shape[1] - 1) :].sum(dim=1), work), None

    return logps
