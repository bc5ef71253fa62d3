"""Sampled softmax: the draw, what it estimates, and that it is the full softmax once the sample is the catalogue."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from contracts.config import SampledSoftmax, SftExperiment
from training.criteria.next_item import NextItem
from training.criteria.sampled_next_item import SampledNextItem, draw_sample
from training.engine.logps import catalogue_logps, item_logits
from training.io.ragged import Ragged
from training.io.rows import Rows

N_ITEMS = 20
LOGITS = torch.randn(6, N_ITEMS, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def rows() -> Rows:
    target = np.array([0, 3, 3, 3, 7, 19])
    return Rows(np.arange(6), np.arange(6), Ragged.of([[1]] * 6), target)


def criterion(n: int, draw: str = "uniform", seed: int = 0) -> SampledNextItem:
    loss = SampledSoftmax.model_validate({"kind": "sampled_softmax", "n": n, "draw": draw})
    return SampledNextItem(rows(), loss, N_ITEMS, seed)


def losses(sampled: SampledNextItem, logits: torch.Tensor) -> torch.Tensor:
    batch = sampled.batch(np.arange(len(logits)))
    return batch.losses(logits.gather(1, torch.from_numpy(batch.items)))


@pytest.mark.parametrize("draw", ["uniform", "popularity"])
@pytest.mark.parametrize("n", [N_ITEMS, N_ITEMS + 5])
def test_with_the_catalogue_as_sample_loss_and_gradient_are_those_of_the_full_softmax(n: int, draw: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    sampled = losses(criterion(n, draw), logits)
    (gradient,) = torch.autograd.grad(sampled.sum(), logits)
    logps = torch.log_softmax(logits, dim=1)
    full = NextItem(rows()).batch(np.arange(6)).losses(logps.gather(1, torch.from_numpy(rows().target)[:, None]))
    (wanted,) = torch.autograd.grad(full.sum(), logits)
    torch.testing.assert_close(sampled, full)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("draw", ["uniform", "popularity"])
def test_the_estimate_of_the_sum_over_the_catalogue_is_right_in_the_mean(draw: str) -> None:
    sampled, target = criterion(5, draw), torch.from_numpy(rows().target)[:, None]
    estimates = []
    for step in range(4000):
        sampled.start_step(step)
        estimates.append((losses(sampled, LOGITS) + LOGITS.gather(1, target)[:, 0]).exp())
    table = torch.stack(estimates)
    error = table.mean(dim=0) - LOGITS.exp().sum(dim=1)
    assert bool((error.abs() < 4 * table.std(dim=0) / len(table) ** 0.5).all())


def test_a_larger_sample_comes_closer_to_the_full_softmax() -> None:
    full = -torch.log_softmax(LOGITS, dim=1).gather(1, torch.from_numpy(rows().target)[:, None])[:, 0]

    def error(n: int) -> float:
        sampled, squares = criterion(n), []
        for step in range(200):
            sampled.start_step(step)
            squares.append((losses(sampled, LOGITS) - full).square().mean())
        return float(torch.stack(squares).mean())

    errors = [error(n) for n in (2, 5, 10, 15, 19)]
    assert errors == sorted(errors, reverse=True)


def test_items_are_drawn_once_each_and_popular_ones_more_often() -> None:
    weight = np.arange(1.0, 101.0)
    log_share = np.log(weight / weight.sum())
    counts = np.zeros(100)
    for step in range(2000):
        sample, log_inclusion = draw_sample(log_share, 10, seed=0, step=step)
        assert len(np.unique(sample)) == 10
        assert bool((log_inclusion <= 0).all())
        counts[sample] += 1
    assert counts[90:].mean() > 3 * counts[:30].mean()


def test_a_sample_depends_on_seed_and_step_alone() -> None:
    log_share = np.log(np.full(1000, 1e-3))
    first, _ = draw_sample(log_share, 50, seed=0, step=7)
    assert np.array_equal(first, draw_sample(log_share, 50, seed=0, step=7)[0])
    assert not np.array_equal(first, draw_sample(log_share, 50, seed=0, step=8)[0])
    assert not np.array_equal(first, draw_sample(log_share, 50, seed=1, step=7)[0])


def test_logits_are_log_probabilities_but_for_a_sum_of_each_row() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(5, 8, generator=generator, requires_grad=True)
    head = torch.randn(30, 8, generator=generator, requires_grad=True)
    items = torch.randint(30, (5, 7), generator=generator)
    logits = item_logits(states, head, items)
    shift = catalogue_logps(states, head).gather(1, items) - logits
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift))
    weights = torch.randn(5, 7, generator=generator)
    of_states, of_head = torch.autograd.grad((logits * weights).sum(), [states, head])
    wanted = torch.autograd.grad(((states @ head.T).gather(1, items) * weights).sum(), [states, head])
    torch.testing.assert_close((of_states, of_head), wanted)


def test_it_is_refused_where_an_item_is_several_tokens() -> None:
    titles = {"kind": "titles"}
    with pytest.raises(ValidationError, match="loss must be full_softmax where an item is several tokens"):
        SftExperiment.model_validate(
            {
                "kind": "sft",
                "representation": titles,
                "loss": {"kind": "sampled_softmax"},
                "optimizer": {"kind": "adamw", "lr": 0.01},
            }
        )
