"""Words that several rooms spell alike."""

import re
from typing import get_args

import pytest

from contracts import words
from contracts.config import PreferenceExperiment, SftExperiment
from evaluation.metrics.ranking import CANDIDATE_MEASURES, FULL_MEASURES
from training.loop.validation import row_values


def test_held_out_splits_are_all_but_train_and_reports_show_the_same() -> None:
    assert set(words.SPLITS) - {"train"} == set(words.HELD_OUT) == set(words.REPORTED)
    assert get_args(words.Split) == words.SPLITS


@pytest.mark.parametrize("protocol", [words.FULL, words.of_candidates(20), words.of_candidates(1000)])
def test_every_protocol_that_is_made_is_one_that_is_accepted(protocol: str) -> None:
    assert re.fullmatch(words.PROTOCOL, protocol)
    assert words.protocol_of(f"ndcg_at_10_{protocol}") == protocol


@pytest.mark.parametrize("protocol", ["of_0", "of_", "of_020", "fuller", "FULL"])
def test_no_other_protocol_is_accepted(protocol: str) -> None:
    assert not re.fullmatch(words.PROTOCOL, protocol)


def test_what_studies_choose_by_is_measured() -> None:
    measured = {measure.metric(words.FULL) for measure in FULL_MEASURES}
    measured |= {measure.metric(words.of_candidates(20)) for measure in CANDIDATE_MEASURES}
    assert measured == set(get_args(words.StudyMetric))
    assert words.MAIN_METRIC in measured


@pytest.mark.parametrize("n", [0, 20])
def test_a_training_validates_by_the_metrics_that_configuration_accepts(n: int) -> None:
    assert tuple(row_values(n)) == words.validation_metrics(n)
    assert all(bool(words.OF_CANDIDATES.fullmatch(metric)) == (n > 0) for metric in words.validation_metrics(n))


def test_every_kind_of_experiment_with_a_policy_has_an_asset_for_it() -> None:
    kinds = {get_args(model.model_fields["kind"].annotation)[0] for model in (SftExperiment, PreferenceExperiment)}
    assert kinds == set(words.POLICY_ASSETS)
