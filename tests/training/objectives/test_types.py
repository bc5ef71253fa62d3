"""What an objective refuses, with the shape checks of the test run and, in another process, without them."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest
import torch
from jaxtyping import TypeCheckError

from training.objectives import Preferences

PARTS = """
import torch
from training.objectives import OBJECTIVES, Preferences
one = torch.ones(2, 3, dtype=torch.int64)
parts = dict(
    policy_chosen=torch.zeros(2), policy_rejected=torch.zeros(2, 3), reference_chosen=torch.zeros(2),
    reference_rejected=torch.zeros(2, 3), is_negative=one == 1, chosen_tokens=one[:, 0], rejected_tokens=one,
)
prefs = Preferences(**parts)
"""

REFUSED = {
    # A column of chosen items would broadcast against [b n], and so would one row's for all.
    "Preferences(**parts | {'policy_chosen': torch.zeros(2, 1)})": "policy_chosen must be of shape (2,), got (2, 1)",
    "Preferences(**parts | {'policy_rejected': torch.zeros(3, 2)})": "policy_rejected must be of shape (2, 3)",
    "Preferences(**parts | {'reference_chosen': torch.zeros(1)})": "reference_chosen must be of shape (2,), got (1,)",
    "Preferences(**parts | {'reference_rejected': torch.zeros(2, 1)})": "reference_rejected must be of shape (2, 3)",
    "Preferences(**parts | {'chosen_tokens': one})": "chosen_tokens must be of shape (2,), got (2, 3)",
    "Preferences(**parts | {'rejected_tokens': one[:, 0]})": "rejected_tokens must be of shape (2, 3), got (2,)",
    "Preferences(**parts | {'is_negative': one})": "is_negative must be of dtype bool, got torch.int64",
    "OBJECTIVES['mppo'](prefs, beta=1.0, probability='mean')": "probability must be geometric_mean or joint, got 'me",
    "OBJECTIVES['dynamicpo-dpo'](prefs, beta=1.0, margin=6.0, selection_score='logp')": (
        "selection_score must be policy_logp or log_ratio, got 'logp'"
    ),
    "OBJECTIVES['mcpo'](prefs, beta=1.0, temperature=1.0, score='reward', generator=torch.Generator())": (
        "score must be implicit_reward or policy_logp, got 'reward'"
    ),
}


@pytest.fixture(scope="module")
def messages() -> dict[str, str]:
    """What each refused call says in a process of its own, where no type checker stands before it."""
    program = PARTS + (
        "import json, sys\n"
        "def message(call):\n"
        "    try:\n"
        "        eval(call)\n"
        "    except ValueError as error:\n"
        "        return str(error)\n"
        "    return 'accepted'\n"
        "print(json.dumps({call: message(call) for call in json.loads(sys.argv[1])}))\n"
    )
    arguments = [sys.executable, "-c", program, json.dumps(list(REFUSED))]
    return json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("call", REFUSED)
def test_a_wrong_shape_or_option_is_refused_with_its_name(call: str, messages: dict[str, str]) -> None:
    assert REFUSED[call] in messages[call]


@pytest.mark.parametrize("call", REFUSED)
def test_the_shape_checks_of_the_test_run_refuse_it_too(call: str) -> None:
    names: dict[str, object] = {}
    exec(PARTS, names)
    with pytest.raises((ValueError, TypeCheckError)):
        eval(call, names)


def test_no_column_of_negatives_is_refused() -> None:
    none = torch.ones(2, 0, dtype=torch.int64)
    with pytest.raises(ValueError, match="at least 1 column, got 0"):
        Preferences(torch.zeros(2), torch.zeros(2, 0), torch.zeros(2), torch.zeros(2, 0), none == 1, none.sum(-1), none)


def test_a_batch_cannot_be_changed() -> None:
    names: dict[str, object] = {}
    exec(PARTS, names)
    with pytest.raises(FrozenInstanceError):
        names["prefs"].policy_chosen = torch.ones(2)  # type: ignore[attr-defined]


def test_padding_of_length_zero_is_not_divided_by() -> None:
    tokens, zero = torch.tensor([[2, 1, 0]]), torch.zeros(1, 3)
    prefs = Preferences(zero[:, 0], zero, zero[:, 0], zero, tokens > 0, tokens[:, 0], tokens)
    assert prefs.rejected_mean_logp.isfinite().all()
