"""Laws that every objective obeys, under its config's defaults. A new one in `OBJECTIVES` inherits them."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import Tensor

from contracts.config import DynamicBoundary, Objective
from training.objectives import BASES, OBJECTIVES, Preferences
from training.objectives.dynamicpo import focus

CONFIGS = {kind: TypeAdapter(Objective).validate_python({"kind": kind}) for kind in OBJECTIVES}
WITHOUT_REFERENCE = {"simpo", "cpo", "orpo", "mppo"}
DYNAMIC = [kind for kind, config in CONFIGS.items() if isinstance(config, DynamicBoundary)]
PAIRWISE = ["dpo", "ipo", "simpo", "cpo", "orpo", "rpo", "lpo"]
DRAWS = [kind for kind, config in CONFIGS.items() if config.needs_generator]

# Exempt from the signs: past their target margin these pull the chosen item down and the rejected one up again.
HAS_TARGET = [kind for kind in OBJECTIVES if kind.removeprefix("dynamicpo-") in ("ipo", "lpo")]

every_objective = pytest.mark.parametrize("kind", OBJECTIVES)

ANY_LOGP = st.one_of(st.floats(-400.0, 400.0, width=32), st.sampled_from([-400.0, -2.0, -1.0, 0.0]))
"""Hundreds of nats, ties, certainty, and what no probability has: a log-probability above 0."""
LOGP = st.floats(-30.0, -0.125, width=32)


def loss_of(kind: str, prefs: Preferences, seed: int = 0, **changed: Any) -> Tensor:
    """The loss under the config's defaults; a draw depends on the seed alone."""
    hyperparameters = CONFIGS[kind].hyperparameters | changed
    if CONFIGS[kind].needs_generator:
        hyperparameters["generator"] = torch.Generator().manual_seed(seed)
    return OBJECTIVES[kind](prefs, **hyperparameters)


def loss_and_gradients(kind: str, prefs: Preferences, **changed: Any) -> tuple[Tensor, Tensor, Tensor]:
    chosen, rejected = (logp.clone().requires_grad_() for logp in (prefs.policy_chosen, prefs.policy_rejected))
    loss = loss_of(kind, replace(prefs, policy_chosen=chosen, policy_rejected=rejected), **changed)
    of_chosen, of_rejected = torch.autograd.grad(loss.sum(), [chosen, rejected])
    return loss.detach(), of_chosen, of_rejected


@st.composite
def preferences(
    draw: Callable[..., Any],
    logp: st.SearchStrategy[float] = LOGP,
    dtype: torch.dtype = torch.float64,
    b: st.SearchStrategy[int] = st.integers(1, 3),  # noqa: B008
    n: st.SearchStrategy[int] = st.integers(1, 5),  # noqa: B008
    is_negative: st.SearchStrategy[bool] = st.just(True),  # noqa: B008
) -> Preferences:
    rows, columns = draw(b), draw(n)

    def vector(values: st.SearchStrategy[Any], length: int) -> Tensor:
        return torch.tensor(draw(st.lists(values, min_size=length, max_size=length)))

    size = rows * columns
    return Preferences(
        policy_chosen=vector(logp, rows).to(dtype),
        policy_rejected=vector(logp, size).to(dtype).reshape(rows, columns),
        reference_chosen=vector(logp, rows).to(dtype),
        reference_rejected=vector(logp, size).to(dtype).reshape(rows, columns),
        is_negative=vector(is_negative, size).reshape(rows, columns),
        chosen_tokens=vector(st.integers(1, 4), rows),
        rejected_tokens=vector(st.integers(1, 4), size).reshape(rows, columns),
    )


def columns(prefs: Preferences, order: Tensor) -> Preferences:
    """The batch with its negatives in another order."""
    per_negative = {f.name: getattr(prefs, f.name) for f in fields(prefs) if getattr(prefs, f.name).dim() == 2}
    return replace(prefs, **{name: values[:, order] for name, values in per_negative.items()})


def padded(prefs: Preferences, at: int) -> Preferences:
    """The batch with a column of NaN padding of length 0 at position `at`."""

    def insert(values: Tensor, fill: float) -> Tensor:
        column = torch.full_like(values[:, :1], fill)
        return torch.cat([values[:, :at], column, values[:, at:]], dim=-1)

    return replace(
        prefs,
        policy_rejected=insert(prefs.policy_rejected, torch.nan),
        reference_rejected=insert(prefs.reference_rejected, torch.nan),
        is_negative=insert(prefs.is_negative, False),
        rejected_tokens=insert(prefs.rejected_tokens, 0),
    )


def row(prefs: Preferences, index: int) -> Preferences:
    return Preferences(**{f.name: getattr(prefs, f.name)[index : index + 1] for f in fields(prefs)})


def test_every_objective_has_a_config_with_defaults_and_no_config_lacks_an_objective() -> None:
    kinds = {
        kind for member in get_args(get_args(Objective)[0]) for kind in member.model_fields["kind"].annotation.__args__
    }
    assert kinds == set(OBJECTIVES)
    assert set(OBJECTIVES) == set(BASES) | {f"dynamicpo-{kind}" for kind in BASES}


@every_objective
@given(prefs=preferences(ANY_LOGP, torch.float32, is_negative=st.booleans()))
def test_loss_and_gradients_are_finite_on_any_log_probabilities(kind: str, prefs: Preferences) -> None:
    loss, chosen, rejected = loss_and_gradients(kind, prefs)
    assert loss.shape == prefs.policy_chosen.shape
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()
    assert chosen.isfinite().all()
    assert rejected.isfinite().all()


@every_objective
@given(prefs=preferences(is_negative=st.booleans()), data=st.data())
def test_padding_changes_nothing_even_where_it_is_nan(kind: str, prefs: Preferences, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, prefs.is_negative.shape[-1]))
    loss, chosen, rejected = loss_and_gradients(kind, prefs)
    with_padding = loss_and_gradients(kind, padded(prefs, at))
    torch.testing.assert_close(with_padding[0], loss)
    torch.testing.assert_close(with_padding[1], chosen)
    torch.testing.assert_close(torch.cat([with_padding[2][:, :at], with_padding[2][:, at + 1 :]], dim=-1), rejected)
    assert not with_padding[2][:, at].any()


@pytest.mark.parametrize("kind", [kind for kind in OBJECTIVES if kind not in DRAWS])
@given(prefs=preferences(is_negative=st.booleans()), data=st.data())
def test_order_of_negatives_does_not_matter(kind: str, prefs: Preferences, data: st.DataObject) -> None:
    order = torch.tensor(data.draw(st.permutations(range(prefs.is_negative.shape[-1]))))
    loss, chosen, rejected = loss_and_gradients(kind, prefs)
    permuted = loss_and_gradients(kind, columns(prefs, order))
    torch.testing.assert_close(permuted[0], loss)
    torch.testing.assert_close(permuted[1], chosen)
    torch.testing.assert_close(permuted[2], rejected[:, order])


@pytest.mark.parametrize("kind", [kind for kind in OBJECTIVES if kind not in DRAWS])
@given(prefs=preferences(is_negative=st.booleans()))
def test_a_row_does_not_depend_on_the_rows_beside_it(kind: str, prefs: Preferences) -> None:
    alone = [loss_of(kind, row(prefs, index)) for index in range(len(prefs.policy_chosen))]
    torch.testing.assert_close(loss_of(kind, prefs), torch.cat(alone))


@every_objective
@given(prefs=preferences(is_negative=st.booleans()))
def test_a_row_without_negatives_costs_nothing_and_moves_nothing(kind: str, prefs: Preferences) -> None:
    empty = prefs.is_negative.clone()
    empty[0] = False
    loss, chosen, rejected = loss_and_gradients(kind, replace(prefs, is_negative=empty), nll_weight=0.5)
    assert loss[0] == 0
    assert chosen[0] == 0
    assert not rejected[0].any()


@pytest.mark.parametrize("kind", [kind for kind in OBJECTIVES if kind not in HAS_TARGET])
@given(prefs=preferences(is_negative=st.booleans()))
def test_chosen_is_pulled_up_and_rejected_are_pushed_down(kind: str, prefs: Preferences) -> None:
    _, chosen, rejected = loss_and_gradients(kind, prefs)
    assert (chosen <= 0).all()
    assert (rejected >= 0).all()


@pytest.mark.parametrize("kind", HAS_TARGET)
def test_signs_reverse_past_the_target_margin(kind: str) -> None:
    one = torch.ones(1, 1, dtype=torch.int64)
    target = 1 / (2 * CONFIGS[kind].beta * 0.5)  # beta is at least half of its base's
    for margin, sign in ((0.0, 1), (2 * target, -1)):
        logp = torch.full((1, 1), -margin)
        prefs = Preferences(torch.zeros(1), logp, torch.zeros(1), 0 * logp, one == 1, one[:, 0], one)
        _, chosen, rejected = loss_and_gradients(kind, prefs)
        assert chosen.sign() == -sign
        assert rejected.sign() == sign


@pytest.mark.parametrize("kind", [kind for kind in BASES if kind != "lpo"])
@given(prefs=preferences(is_negative=st.booleans()))
def test_gradient_is_the_finite_difference(kind: str, prefs: Preferences) -> None:
    """For the bases. LPO stops gradients on purpose; what DynamicPO adds is never differentiated."""

    def loss(chosen: Tensor, rejected: Tensor) -> Tensor:
        return loss_of(kind, replace(prefs, policy_chosen=chosen, policy_rejected=rejected)).sum()

    leaves = [logp.clone().requires_grad_() for logp in (prefs.policy_chosen, prefs.policy_rejected)]
    assert torch.autograd.gradcheck(loss, leaves, eps=1e-6, atol=1e-5, rtol=1e-4)


@given(prefs=preferences(n=st.just(1)))
def test_lpo_moves_chosen_and_rejected_in_the_ratio_of_their_weights(prefs: Preferences) -> None:
    weights = {"chosen_weight": 1.0, "rejected_weight": 0.4, "positive_weight": 0.0}
    _, chosen, rejected = loss_and_gradients("lpo", prefs, beta=0.2, **weights)
    margin = prefs.chosen_mean_log_ratio - prefs.rejected_mean_log_ratio[:, 0]
    assume((margin != 2.5).all())
    size = 4 * 0.2 / 1.4 * torch.sign(2.5 - margin)
    torch.testing.assert_close(chosen * prefs.chosen_tokens, -1.0 * size)
    torch.testing.assert_close(rejected[:, 0] * prefs.rejected_tokens[:, 0], 0.4 * size)


@pytest.mark.parametrize("kind", ["dmpo", "sdpo", "mcpo", "rpo"])
@given(prefs=preferences(n=st.just(1)))
def test_with_one_negative_is_dpo(kind: str, prefs: Preferences) -> None:
    margin = prefs.chosen_log_ratio - prefs.rejected_log_ratio[:, 0]
    torch.testing.assert_close(loss_of(kind, prefs, beta=0.5, nll_weight=0.0), -F.logsigmoid(0.5 * margin))


@pytest.mark.parametrize("probability", ["geometric_mean", "joint"])
@given(prefs=preferences(n=st.just(1)))
def test_mppo_with_one_negative_compares_two_probabilities(probability: str, prefs: Preferences) -> None:
    chosen, rejected = prefs.policy_chosen, prefs.policy_rejected[:, 0]
    if probability == "geometric_mean":
        chosen, rejected = chosen / prefs.chosen_tokens, rejected / prefs.rejected_tokens[:, 0]
    expected = -F.logsigmoid(0.5 * (chosen.exp() - rejected.exp()))
    torch.testing.assert_close(loss_of("mppo", prefs, beta=0.5, probability=probability), expected)


@pytest.mark.parametrize("kind", PAIRWISE)
@given(prefs=preferences())
def test_a_pairwise_objective_is_the_mean_over_its_pairs(kind: str, prefs: Preferences) -> None:
    n = prefs.is_negative.shape[-1]
    pairs = [loss_of(kind, columns(prefs, torch.tensor([j]))) for j in range(n)]
    torch.testing.assert_close(loss_of(kind, prefs), torch.stack(pairs).mean(dim=0))


@given(prefs=preferences())
def test_sdpo_is_the_softmax_over_the_chosen_and_its_negatives(prefs: Preferences) -> None:
    rewards = 0.7 * torch.cat([prefs.chosen_log_ratio[:, None], prefs.rejected_log_ratio], dim=-1)
    torch.testing.assert_close(loss_of("sdpo", prefs, beta=0.7), -rewards.log_softmax(dim=-1)[:, 0])


@every_objective
@given(prefs=preferences(is_negative=st.booleans()))
def test_nll_weight_adds_the_chosen_items_loss_per_token_and_nothing_else(kind: str, prefs: Preferences) -> None:
    difference = loss_of(kind, prefs, nll_weight=0.7) - loss_of(kind, prefs, nll_weight=0.2)
    nll = torch.where(prefs.is_negative.any(dim=-1), -prefs.policy_chosen / prefs.chosen_tokens, 0.0)
    torch.testing.assert_close(difference, 0.5 * nll, rtol=1e-6, atol=1e-9)


@every_objective
@given(prefs=preferences())
def test_an_objective_without_a_reference_reads_none_and_the_others_do(kind: str, prefs: Preferences) -> None:
    without = replace(
        prefs,
        reference_chosen=torch.full_like(prefs.reference_chosen, torch.nan),
        reference_rejected=torch.full_like(prefs.reference_rejected, torch.nan),
    )
    reads_none = torch.equal(loss_of(kind, without), loss_of(kind, prefs))
    assert reads_none == (kind.removeprefix("dynamicpo-") in WITHOUT_REFERENCE)


@pytest.mark.parametrize("kind", DYNAMIC)
@given(prefs=preferences(is_negative=st.booleans()))
def test_dynamicpo_without_selection_and_weighting_is_its_base(kind: str, prefs: Preferences) -> None:
    base = kind.removeprefix("dynamicpo-")
    torch.testing.assert_close(loss_of(kind, prefs, selection=False, weighting=False), loss_of(base, prefs))


@pytest.mark.parametrize("score", ["policy_logp", "log_ratio"])
@pytest.mark.parametrize("kind", DYNAMIC)
@given(prefs=preferences(is_negative=st.booleans()))
def test_dynamicpo_alone_selects_what_its_base_sees(kind: str, score: Any, prefs: Preferences) -> None:
    boundary, betas = focus(prefs, beta=CONFIGS[kind].beta, margin=6.0, weighting=False, selection_score=score)
    assert (betas == CONFIGS[kind].beta).all()
    narrowed = replace(prefs, is_negative=boundary)
    selected = loss_and_gradients(kind, prefs, weighting=False, selection_score=score)
    for ours, bases in zip(selected, loss_and_gradients(kind.removeprefix("dynamicpo-"), narrowed), strict=True):
        torch.testing.assert_close(ours, bases)
    assert not selected[2][~boundary].any()


@given(prefs=preferences(ANY_LOGP, n=st.integers(1, 8), is_negative=st.booleans()))
def test_boundary_is_never_empty_and_holds_every_violation_or_none(prefs: Preferences) -> None:
    boundary, _ = focus(prefs, beta=1.0, margin=6.0)
    violations = (prefs.policy_rejected >= prefs.policy_chosen[:, None]) & prefs.is_negative
    assert torch.equal(boundary.any(dim=-1), prefs.has_negatives)
    assert not (boundary & ~prefs.is_negative).any()
    assert torch.equal(boundary[violations.any(dim=-1)], violations[violations.any(dim=-1)])


@given(prefs=preferences(ANY_LOGP, n=st.integers(1, 8), is_negative=st.booleans()), margin=st.floats(0.0, 10.0))
def test_beta_stays_within_scale_and_softens_violations(prefs: Preferences, margin: float) -> None:
    boundary, betas = focus(prefs, beta=2.0, margin=margin, scale=0.5)
    assert betas.isfinite().all()
    assert (betas >= 2.0 * 0.5).all()
    assert (betas <= 2.0 * 1.5).all()
    violates = boundary & (prefs.policy_rejected >= prefs.policy_chosen[:, None])
    some_do_not = (prefs.is_negative & ~boundary).any(dim=-1, keepdim=True)
    at_most = 2.0 * (1 + 0.5 * math.tanh(-1.0)) + 1e-9  # 0.62 × beta
    assert (betas[violates & some_do_not] <= at_most).all()


@pytest.mark.parametrize("kind", DYNAMIC)
@given(prefs=preferences())
def test_no_gradient_flows_through_selection_and_weighting(kind: str, prefs: Preferences) -> None:
    base = kind.removeprefix("dynamicpo-")
    boundary, betas = focus(prefs, beta=CONFIGS[kind].beta, margin=6.0)
    frozen = loss_and_gradients(base, replace(prefs, is_negative=boundary), beta=betas)
    for ours, theirs in zip(loss_and_gradients(kind, prefs), frozen, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", DRAWS)
@given(prefs=preferences(is_negative=st.booleans()), seed=st.integers(0, 2**32))
def test_a_draw_repeats_under_its_seed_and_takes_one_number_a_row(kind: str, prefs: Preferences, seed: int) -> None:
    assert torch.equal(loss_of(kind, prefs, seed=seed), loss_of(kind, prefs, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    OBJECTIVES[kind](prefs, generator=generator, **CONFIGS[kind].hyperparameters)
    apart = torch.Generator().manual_seed(seed)
    torch.rand(len(prefs.policy_chosen), dtype=torch.float64, generator=apart)
    assert torch.equal(generator.get_state(), apart.get_state())
