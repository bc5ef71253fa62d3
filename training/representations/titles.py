"""Items as text: a prompt lists the titles of a history, maybe of candidates; a title with its end is what is scored.

Text is cut at the places of the template's braces before it becomes tokens, here and wherever a policy is used: a title
has the same tokens in every prompt and as a completion, and no token reaches across the end of a prompt. A tokeniser
that would join tokens there, if it saw the whole text at once, is thereby kept from it, in training as in scoring.
"""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.config import CheckpointBackbone, Titles
from training.io.ragged import Ragged
from training.representations.token_lists import Listing, TokenLists, refuse_ambiguity

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END = "<|end|>"
"""The end of a title, for a tokeniser that is made here."""


def title_lists(
    config: Titles, tokeniser: "PreTrainedTokenizerBase", n_tokens: int | None, titles: list[str], items: list[str]
) -> TokenLists:
    """The token lists of a catalogue.

    Args:
        config: of the experiment.
        tokeniser: of the backbone.
        n_tokens: size of the backbone's vocabulary; that of the tokeniser, when absent.
        titles, items: title and publisher's id of each item, in the order of item_id.

    Raises:
        ValueError: an item whose title gives no token, two items with the same tokens, or a tokeniser without end.
    """
    titles = _told_apart(titles, items) if config.repeated == "number" else titles
    head, between, tail = _texts(config)
    before, after = config.line.split("{title}")

    def tokens_of(texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = tokeniser(texts, add_special_tokens=False)["input_ids"]  # pyright: ignore[reportAssignmentType]
        return found

    head_tokens, before_tokens, after_tokens, *others = tokens_of([head, before, after, between, tail])
    between_tokens, tail_tokens = (np.array(tokens, dtype=np.int64) for tokens in others)
    begin = [] if tokeniser.bos_token_id is None else [int(tokeniser.bos_token_id)]  # pyright: ignore[reportArgumentType]
    if not begin + head_tokens:
        raise ValueError(
            f"representation.prompt must have text before {{history}} and {{candidates}}, got {config.prompt!r}: this "
            "tokeniser has no token that begins a text. Write an instruction there."
        )
    end = _end(config, tokeniser, tokens_of)
    of_titles = Ragged.of(tokens_of(titles))
    ended = of_titles.followed(np.array(end, dtype=np.int64))
    _refuse_alike(config, of_titles, ended, [f"{title} ({item})" for title, item in zip(titles, items, strict=True)])
    pad = tokeniser.pad_token_id if tokeniser.pad_token_id is not None else end[-1]  # never seen: any token would do
    size = len(tokeniser) if n_tokens is None else n_tokens
    listing, bridge = None, tail_tokens
    if config.candidates is not None:
        separator = np.array(tokens_of([config.candidates.separator])[0], dtype=np.int64)
        is_first = config.prompt.index("{candidates}") < config.prompt.index("{history}")
        pieces = of_titles.preceded(separator)
        listing = Listing(config.candidates.n, is_first, separator, between_tokens, tail_tokens, pieces)
        bridge = np.zeros(0, dtype=np.int64)
    lists = TokenLists(
        size,
        size,
        int(pad),  # pyright: ignore[reportArgumentType]
        np.array(begin + head_tokens, dtype=np.int64),
        bridge,
        of_titles.preceded(np.array(before_tokens, dtype=np.int64)).followed(np.array(after_tokens, dtype=np.int64)),
        ended,
        _files(tokeniser),
        listing,
    )
    used = [lists.start, bridge, between_tokens, lists.pieces.values, ended.values]
    if (largest := max(int(tokens.max(initial=0)) for tokens in used)) >= size:
        raise ValueError(
            f"the tokeniser's tokens must be among the backbone's {size}, got token {largest} of {len(tokeniser)}. "
            "Give the checkpoint the tokeniser that it was trained with."
        )
    return lists


def _refuse_alike(config: Titles, titles: Ragged, ended: Ragged, names: list[str]) -> None:
    """Every title has tokens, and none with its end begins another with its own: both would be scored as one."""
    if len(titles) and titles.lengths.min() == 0:
        refuse_ambiguity(titles, names, "titles", "Give it a title.")
    advice = "Give each item a title of its own, or set representation.repeated to number."
    if config.end is not None:
        advice += " If one goes on behind the other's end, choose a representation.end that no title holds."
    refuse_ambiguity(ended, names, "titles with their end", advice)


def _texts(config: Titles) -> tuple[str, str, str]:
    """What stands before, between and behind the two places of a template; with one of them, nothing is between."""
    head, *others = re.split(r"\{history\}|\{candidates\}", config.prompt)
    return head, *(others if config.candidates is not None else ("", others[0]))  # pyright: ignore[reportReturnType]


def candidates_cut_through(config: Titles, tokeniser: "PreTrainedTokenizerBase", titles: list[str]) -> int:
    """As `titles_cut_through`, in a list of candidates between two separators."""
    if config.candidates is None:
        return 0
    line = f"{config.candidates.separator}{{title}}{config.candidates.separator}"
    return titles_cut_through(config.model_copy(update={"line": line}), tokeniser, titles)


def titles_cut_through(config: Titles, tokeniser: "PreTrainedTokenizerBase", titles: list[str]) -> int:
    """In how many lines of a prompt the tokeniser would have joined what is cut, had it seen the line as a whole."""
    parts = config.line.split("{title}")
    whole = tokeniser([config.line.replace("{title}", title) for title in titles], add_special_tokens=False)[
        "input_ids"
    ]
    before, after = tokeniser(parts, add_special_tokens=False)["input_ids"]  # pyright: ignore[reportGeneralTypeIssues]
    apart = tokeniser(titles, add_special_tokens=False)["input_ids"]
    return sum([*before, *a, *after] != w for a, w in zip(apart, whole, strict=True))  # pyright: ignore[reportArgumentType,reportGeneralTypeIssues]


def checkpoint_tokeniser(config: CheckpointBackbone) -> "PreTrainedTokenizerBase":
    """The tokeniser that belongs to a checkpoint."""
    from transformers import AutoTokenizer

    revision = config.revision or "main"
    try:
        return AutoTokenizer.from_pretrained(config.name, revision=revision, trust_remote_code=False, use_fast=True)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"backbone.name must hold a tokeniser beside its weights, got none in {config.name} that can be read. "
            "Titles need the checkpoint's own; save it there."
        ) from error


def trained_tokeniser(config: Titles, titles: list[str]) -> "PreTrainedTokenizerBase":
    """A byte-level BPE tokeniser (https://arxiv.org/abs/1508.07909) of the catalogue's own titles and template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    separators = [] if config.candidates is None else [config.candidates.separator]
    tokenizer.train_from_iterator(
        [config.prompt, *separators, *(config.line.replace("{title}", title) for title in titles)], trainer
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END)


def _end(config: Titles, tokeniser: "PreTrainedTokenizerBase", tokens_of: Any) -> list[int]:
    if config.end is not None:
        (end,) = tokens_of([config.end])
        if end:
            return end
        raise ValueError(f"representation.end must be text with a token, got {config.end!r}. Try a line break.")
    if tokeniser.eos_token_id is None:
        raise ValueError(
            "the tokeniser must have an end token, which ends a title, got none. Name one as eos_token in its "
            "tokenizer_config.json, or set representation.end to text that no title holds, such as a line break."
        )
    return [int(tokeniser.eos_token_id)]  # pyright: ignore[reportArgumentType]


def _told_apart(titles: list[str], items: list[str]) -> list[str]:
    """Titles, with the publisher's id behind those that several items have."""
    counts: dict[str, int] = {}
    for title in titles:
        counts[title] = counts.get(title, 0) + 1
    return [f"{title} [{item}]" if counts[title] > 1 else title for title, item in zip(titles, items, strict=True)]


def _files(tokeniser: "PreTrainedTokenizerBase") -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tokeniser.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}
