"""The fixed probe: the same rows and negatives for every run, and win rates that start from nothing."""

from typing import Any

import numpy as np
import pytest
import torch

from contracts.config import ScratchBackbone
from training.backbones.scratch import scratch_model
from training.criteria.win_rate_probe import NEGATIVES, WinRateProbe, probe_items
from training.engine.policy import Policy
from training.io.ragged import Ragged
from training.io.readers import read_rows
from training.io.rows import Rows
from training.representations.items import ItemVocabulary


@pytest.fixture
def validation(tables: Any) -> Rows:
    return read_rows(tables.histories, "validation", tables.n_items)


@pytest.fixture
def policy(tables: Any) -> Policy:
    vocabulary = ItemVocabulary(tables.n_items)
    backbone = ScratchBackbone(hidden=16, layers=1, heads=2, context=32, dropout=0.1)
    return Policy(scratch_model(backbone, vocabulary.n_tokens, seed=0), vocabulary, 32)


def test_negatives_are_distinct_and_neither_target_nor_history(validation: Rows, tables: Any) -> None:
    items = probe_items(validation, tables.n_items)
    for k in range(len(validation)):
        target, negatives = items[k, 0], items[k, 1:].tolist()
        assert target == validation.target[k]
        assert len(set(negatives)) == len(negatives)
        assert not {*negatives} & {int(target), *validation.history[k].tolist()}


def test_a_rows_negatives_do_not_depend_on_the_other_rows(validation: Rows, tables: Any) -> None:
    order = np.arange(len(validation))[::-1].copy()
    backwards = probe_items(validation.take(order), tables.n_items)
    np.testing.assert_array_equal(backwards[order], probe_items(validation, tables.n_items))


def test_the_starting_policy_wins_nothing_against_itself(policy: Policy, validation: Rows) -> None:
    assert WinRateProbe(policy, validation).win_rates(policy) == {"probe_win_rate_pair": 0.0, "probe_win_rate_all": 0.0}


def test_how_much_a_pass_holds_changes_nothing(policy: Policy, validation: Rows) -> None:
    whole, cut = WinRateProbe(policy, validation), WinRateProbe(policy, validation, max_tokens=40)
    torch.testing.assert_close(cut.reference, whole.reference)
    with torch.no_grad():
        for weight in policy.trained_parameters().values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    assert cut.win_rates(policy) == whole.win_rates(policy)
    assert 0.0 < whole.win_rates(policy)["probe_win_rate_pair"] < 1.0


def test_a_policy_that_learned_the_targets_wins(policy: Policy, validation: Rows) -> None:
    probe = WinRateProbe(policy, validation)
    before = policy.snapshot()
    stepper = torch.optim.AdamW(policy.trained_parameters().values(), lr=0.02)
    from training.engine.windows import lay_out

    trunks = lay_out(probe.windows, np.arange(len(probe.windows)), policy.vocabulary)
    for _ in range(30):
        logps = policy.item_logps(trunks, probe.items[trunks.row])
        (-logps[:, 0].mean()).backward()
        stepper.step()
        stepper.zero_grad()
    learned = probe.win_rates(policy)
    assert learned["probe_win_rate_pair"] > 0.8
    policy.restore(before)
    assert probe.win_rates(policy)["probe_win_rate_pair"] == 0.0


def test_a_catalogue_without_room_for_negatives_is_refused() -> None:
    rows = Rows(np.array([0]), np.array([0]), Ragged.of([[0, 1]]), np.array([2]))
    assert NEGATIVES == 19
    with pytest.raises(ValueError, match="must hold more items than the longest history"):
        probe_items(rows, n_items=3)
