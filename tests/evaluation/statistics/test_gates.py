from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.words import MAIN_METRIC
from evaluation.metrics.ranking import METRICS_SCHEMA
from evaluation.statistics.gates import Contender, Gate, Guard, Verdict
from evaluation.statistics.gates import judge as judge_contenders
from evaluation.statistics.significance import Resampling


def table(mean: float, *, noise: int = 0, users: int = 400, test: float | None = None) -> pl.DataFrame:
    """Values around `mean` on validation; on test around `test`, or the opposite of what validation says."""
    shared = np.random.default_rng(0).normal(0.0, 0.2, users)
    own = np.random.default_rng(noise).normal(0.0, 0.2, users) if noise else 0.0
    parts = [
        pl.DataFrame(
            {
                "row_id": np.arange(users) + users * place,
                "user_id": np.arange(users),
                "split": split,
                "protocol": "full",
                "metric": MAIN_METRIC,
                "value": value + shared + own,
            },
            schema=METRICS_SCHEMA,
        )
        for place, (split, value) in enumerate((("validation", mean), ("test", 1 - mean if test is None else test)))
    ]
    return pl.concat(parts)


FLOORS = {"popularity": table(0.1, noise=8)}


def judge(
    contenders: Mapping[str, pl.DataFrame],
    *,
    champion: pl.DataFrame | None,
    guarded: Mapping[str, float] | None = None,
    champion_guarded: Mapping[str, float] | None = None,
    guards: Mapping[str, Guard] | None = None,
    collapse: Mapping[str, Mapping[str, Any] | None] | None = None,
    resamples: int = 1000,
    **others: Any,
) -> Verdict:
    """Every contender has the same guarded numbers; no number is guarded unless a test says which."""
    found = collapse or {}
    return judge_contenders(
        {
            name: Contender(metrics, guarded or {}, can_collapse=name in found, collapse=found.get(name))
            for name, metrics in contenders.items()
        },
        champion=None if champion is None else Contender(champion, champion_guarded or {}),
        guards=guards or {},
        how=Resampling(resamples),
        **others,
    )


def test_a_clearly_better_contender_wins_and_every_number_is_in_the_verdict() -> None:
    verdict = judge({"dmpo": table(0.36), "sft": table(0.30)}, champion=table(0.30), floors=FLOORS, resamples=2000)
    assert (verdict.challenger, verdict.wins, verdict.reasons) == ("dmpo", True, ())
    assert [gate.name for gate in verdict.gates] == ["better than the champion", "better than floor popularity"]
    assert set(verdict.values) == {"dmpo", "sft", "the champion", "floor popularity"}
    assert verdict.as_json()["gates"][0]["detail"].startswith(f"{MAIN_METRIC} +0.0600 [")


def test_a_better_looking_one_within_noise_does_not_win() -> None:
    verdict = judge({"dmpo": table(0.302, noise=5)}, champion=table(0.30), floors=FLOORS, resamples=2000)
    assert not verdict.wins
    assert verdict.reasons[0].startswith("better than the champion: ")


def test_luck_among_many_contenders_is_counted() -> None:
    shift = 0.024 - np.random.default_rng(7).normal(0.0, 0.2, 400).mean()
    lucky = {"dmpo": table(0.3 + shift, noise=7)}
    many = {f"sdpo-s{seed}": table(0.28, noise=20 + seed) for seed in range(12)}
    assert judge(lucky, champion=table(0.30), floors=FLOORS, resamples=5000).wins
    verdict = judge(lucky | many, champion=table(0.30), floors=FLOORS, resamples=5000)
    assert verdict.challenger == "dmpo"
    assert not verdict.wins


def test_the_first_champion_has_only_the_floors_to_beat() -> None:
    assert judge({"sft": table(0.30)}, champion=None, floors=FLOORS, resamples=1000).wins
    blind = judge({"sft": table(0.10)}, champion=None, floors=FLOORS, resamples=1000)
    assert [gate.name for gate in blind.gates if not gate.passed] == ["better than floor popularity"]


def test_a_floor_that_only_orders_candidate_sets_is_no_gate() -> None:
    slot = table(0.9).with_columns(protocol=pl.lit("of_20"), metric=pl.lit("mrr_of_20"))
    verdict = judge({"sft": table(0.30)}, champion=None, floors={**FLOORS, "slot": slot}, resamples=1000)
    assert [gate.name for gate in verdict.gates] == ["better than floor popularity"]


def test_test_rows_decide_nothing() -> None:
    first = judge({"dmpo": table(0.36, test=0.0)}, champion=table(0.30, test=0.9), floors=FLOORS, resamples=1000)
    second = judge({"dmpo": table(0.36, test=0.9)}, champion=table(0.30, test=0.0), floors=FLOORS, resamples=1000)
    assert first == second
    assert first.wins


@pytest.mark.parametrize(
    ("guard", "value", "passes"),
    [
        (Guard("larger", 0.1), 0.46, True),
        (Guard("larger", 0.1), 0.44, False),
        (Guard("smaller", 0.1), 0.54, True),
        (Guard("smaller", 0.1), 0.56, False),
        (Guard("larger", 0.0), 0.5, True),
        (Guard("smaller", 0.1, is_share=False), 0.59, True),
        (Guard("smaller", 0.1, is_share=False), 0.61, False),
    ],
)
def test_accuracy_does_not_buy_a_loss_elsewhere(guard: Guard, value: float, passes: bool) -> None:
    verdict = judge(
        {"dmpo": table(0.36)},
        champion=table(0.30),
        floors=FLOORS,
        guarded={"coverage_at_10_full": value},
        champion_guarded={"coverage_at_10_full": 0.5},
        guards={"coverage_at_10_full": guard},
        resamples=1000,
    )
    assert verdict.wins == passes
    assert "the champion's 0.5000" in verdict.gates[-1].detail


def test_a_guarded_number_that_nobody_measured_is_no_pass() -> None:
    verdict = judge(
        {"dmpo": table(0.36)},
        champion=table(0.30),
        floors=FLOORS,
        guards={"coverage_at_10_full": Guard("larger", 0.1)},
        resamples=1000,
    )
    assert verdict.reasons == ("coverage_at_10_full: not measured for the challenger; evaluate it again",)


def test_a_number_that_these_rows_cannot_have_is_no_gate() -> None:
    guards = {"cold_item_recall_at_10_full": Guard("larger", 0.25, may_be_absent=True)}
    tables = {"dmpo": table(0.36)}
    settings = {"champion": table(0.30), "floors": FLOORS, "guards": guards, "resamples": 1000}
    assert judge(tables, **settings).wins  # pyright: ignore[reportArgumentType]
    lost = judge(tables, champion_guarded={"cold_item_recall_at_10_full": 0.2}, **settings)  # pyright: ignore[reportArgumentType]
    assert lost.reasons == ("cold_item_recall_at_10_full: not measured for the challenger; evaluate it again",)


def collapse(verdict: str) -> dict[str, object]:
    return {"verdict": verdict, "message": "ndcg_at_10_full fell", "drop": 0.1}


def test_a_collapsed_contender_is_passed_over_and_its_numbers_are_in_the_verdict() -> None:
    tables = {"dmpo": table(0.36), "sdpo": table(0.34), "sft": table(0.30)}
    found = {"dmpo": collapse("collapsed"), "sdpo": collapse("cannot tell")}
    verdict = judge(tables, champion=table(0.30), floors=FLOORS, collapse=found, resamples=1000)
    assert (verdict.challenger, verdict.wins) == ("sdpo", True)
    assert verdict.as_json()["collapse"]["dmpo"]["drop"] == 0.1
    assert verdict.gates[-1] == Gate("did not collapse", True, "cannot tell: ndcg_at_10_full fell")


def test_where_all_contenders_collapsed_or_nobody_looked_none_wins() -> None:
    tables = {"dmpo": table(0.36), "sdpo": table(0.34)}
    found = {"dmpo": collapse("collapsed"), "sdpo": None}
    verdict = judge(tables, champion=table(0.30), floors=FLOORS, collapse=found, resamples=1000)
    assert (verdict.challenger, verdict.wins) == ("dmpo", False)
    assert verdict.reasons == ("did not collapse: collapsed: ndcg_at_10_full fell",)
    verdict = judge({"sdpo": table(0.34)}, champion=None, floors=FLOORS, collapse={"sdpo": None}, resamples=1000)
    assert verdict.reasons == ("did not collapse: nobody looked; train and register it again",)


def test_a_fault_forbids_any_promotion() -> None:
    faults = {"leak probes": "candidate_sets was published with accepted leaks"}
    verdict = judge({"dmpo": table(0.36)}, champion=table(0.30), floors=FLOORS, faults=faults, resamples=1000)
    assert verdict.reasons == ("leak probes: candidate_sets was published with accepted leaks",)


def test_without_a_contender_it_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="at least one contender"):
        judge({}, champion=None, floors=FLOORS)
