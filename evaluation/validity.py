"""ValidRatio: how often a generated answer names one item of its candidate set. Dimension key: r rows, n candidates.

An answer is free text only where a language model generated it; a ranking is valid by construction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rule = Literal["exact", "lenient"]


@dataclass(frozen=True)
class Answers:
    """What became of the generated answer of each row; both arrays have shape [r]."""

    is_valid: NDArray[np.bool_]
    """It names exactly one candidate."""
    is_hit: NDArray[np.bool_]
    """And that is the target. An answer that is not valid never hits."""

    @property
    def valid_ratio(self) -> float:
        """Share of valid answers."""
        return float(self.is_valid.mean())

    @property
    def hit_ratio(self) -> float:
        """Share of all answers that hit."""
        return float(self.is_hit.mean())


def judge_answers(
    answers: Sequence[str], candidates: Sequence[Sequence[str]], targets: Sequence[str], *, rule: Rule = "exact"
) -> Answers:
    """Judges one answer for each row against the names (ids or titles) of its candidates.

    Args:
        answers: the generated text of each row.
        candidates: the names in each row's candidate set.
        targets: the name of each row's target, one of its candidates.
        rule: `exact`: the answer without surrounding white space equals one name. `lenient`: compatibility with
            published numbers, the rule of `evaluate_batch.py` of S-DPO (https://arxiv.org/abs/2406.09215) and its
            descendants: one name alone occurs somewhere in the answer, and a hit is that the target's name occurs in
            a valid one. A title inside another title makes a right answer invalid there, and a long answer that
            mentions a title in passing valid: use it to compare with papers, not to decide.

    Raises:
        ValueError: uneven lengths, a row with a name twice, or a target that is not among its candidates.

    >>> judge_answers([" Heat\\n", "Heat or Alien"], [["Heat", "Alien"]] * 2, ["Heat"] * 2).is_hit.tolist()
    [True, False]
    """
    if not len(answers) == len(candidates) == len(targets) or not answers:
        raise ValueError(
            f"answers, candidates and targets must be of one length, 1 or more, got {len(answers)}, "
            f"{len(candidates)} and {len(targets)}."
        )
    valid: list[bool] = []
    hit: list[bool] = []
    for row, (answer, names, target) in enumerate(zip(answers, candidates, targets, strict=True)):
        if len(set(names)) != len(names) or target not in names:
            wrong = "a name twice" if len(set(names)) != len(names) else f"no target {target!r} among them"
            raise ValueError(f"candidates must be distinct and hold the target, got {wrong} in row {row}.")
        named = [name for name in names if _names(answer, name, rule)]
        valid.append(len(named) == 1)
        hit.append(named == [target])
    return Answers(np.array(valid), np.array(hit))


def _names(answer: str, name: str, rule: Rule) -> bool:
    return answer.strip() == name.strip() if rule == "exact" else name in answer
