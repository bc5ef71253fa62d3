"""What the Launchpad shows of the jobs for a whole way, and what it refuses."""

from typing import Any

import dagster as dg
import pytest

from contracts.files.names import dataset_keys, study_keys
from contracts.files.yaml_lines import ConfigurationError
from contracts.words import ACCEPT_LEAKS_TAG
from orchestration import walk_jobs
from orchestration.walks.runner import LayerFailed, LayerRefused, LayerRunner

FIELDS = {
    "train": {"accept_leaks"},
    "retrain": {"dataset", "experiments", "accept_leaks"},
    "study": {"study", "dataset", "only", "accept_leaks"},
    "promote_version": {"dataset", "version", "reason"},
    "rollback": {"dataset", "reason"},
}
DATASET = dataset_keys()[0]


def op_of(job: dg.JobDefinition) -> dg.OpDefinition:
    [op] = job.all_node_defs
    assert isinstance(op, dg.OpDefinition)
    return op


def fields_of(job: dg.JobDefinition) -> dict[str, Any]:
    return dict(op_of(job).config_schema.as_field().config_type.fields)  # type: ignore[attr-defined]


@pytest.mark.parametrize("job", walk_jobs.WALKS, ids=lambda job: job.name)
def test_each_field_of_a_form_says_what_it_is_for(job: dg.JobDefinition) -> None:
    fields = fields_of(job)
    assert fields.keys() == FIELDS[job.name]
    for name, field in fields.items():
        assert len(field.description or "") > 20, f"{job.name}: {name}"


@pytest.mark.parametrize("job", walk_jobs.WALKS, ids=lambda job: job.name)
def test_data_sets_and_studies_are_chosen_from_those_that_there_are(job: dg.JobDefinition) -> None:
    for name, keys in {"dataset": dataset_keys(), "study": study_keys()}.items():
        if name in FIELDS[job.name]:
            assert fields_of(job)[name].config_type.config_values == keys
    if "dataset" in FIELDS[job.name]:
        given = {"study": study_keys()[0], "version": 1, "reason": "why"}
        config = {name: value for name, value in given.items() if name in FIELDS[job.name]}
        name = op_of(job).name
        assert dg.validate_run_config(job, {"ops": {name: {"config": {**config, "dataset": DATASET}}}})
        with pytest.raises(dg.DagsterInvalidConfigError, match="no-such-data-set"):
            dg.validate_run_config(job, {"ops": {name: {"config": {**config, "dataset": "no-such-data-set"}}}})


class Asked:
    """What the ops ask of the walks."""

    def __init__(self) -> None:
        self.walks: list[tuple[Any, ...]] = []
        self.tags: dict[str, str] = {}

    def walk(self, runner: LayerRunner, *asked: Any) -> None:
        self.walks.append(asked)
        self.tags = dict(runner.tags)

    def champion(self, dataset: str) -> str:
        return f"7 of {dataset}"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    for name in ("walk_experiments", "walk_study", "decide"):
        monkeypatch.setattr(walk_jobs, name, asked.walk)
    return asked


def launched(job: dg.JobDefinition, asked: Asked, config: dict[str, Any], **more: Any) -> dg.ExecuteInProcessResult:
    definitions = dg.Definitions(jobs=[job], resources={"lake": object(), "tracker": asked})
    return definitions.resolve_job_def(job.name).execute_in_process(
        run_config={"ops": {op_of(job).name: {"config": config}}}, raise_on_error=False, **more
    )


@pytest.mark.parametrize(
    ("job", "config", "walk"),
    [
        (walk_jobs.retrain, {"experiments": ["sft"]}, (DATASET, ["sft"])),
        (walk_jobs.study, {"study": study_keys()[0]}, (study_keys()[0], DATASET, {})),
        (
            walk_jobs.promote_version,
            {"version": 3, "reason": "a campaign"},
            (DATASET, {"borderline/champion": "3", "borderline/reason": "a campaign"}),
        ),
        (
            walk_jobs.rollback,
            {"reason": "it is worse"},
            (DATASET, {"borderline/rollback": "true", "borderline/reason": "it is worse"}),
        ),
    ],
    ids=["retrain", "study", "promote_version", "rollback"],
)
def test_a_form_asks_for_the_walk_that_it_names(
    asked: Asked, job: dg.JobDefinition, config: dict[str, Any], walk: tuple[Any, ...]
) -> None:
    assert launched(job, asked, {"dataset": DATASET, **config}).success
    assert asked.walks == [walk]


@pytest.mark.parametrize("way", ["form", "tag", "neither"])
def test_leaks_are_accepted_by_the_form_of_train_or_by_its_tag(asked: Asked, way: str) -> None:
    key = dg.MultiPartitionKey({"dataset": DATASET, "experiment": "sft"})
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("dataset", [DATASET])
        instance.add_dynamic_partitions("experiment", ["sft"])
        tags = {ACCEPT_LEAKS_TAG: "true"} if way == "tag" else {}
        config = {"accept_leaks": True} if way == "form" else {}
        assert launched(walk_jobs.train, asked, config, partition_key=key, tags=tags, instance=instance).success
    assert asked.walks == [(DATASET, ["sft"])]
    assert asked.tags.get(ACCEPT_LEAKS_TAG) == (None if way == "neither" else "true")


@pytest.mark.parametrize(
    "error",
    [
        LayerRefused("raw_interactions: MovieLens 1M must have ml-1m.zip\nThe run: ingest of ml-1m, 1234."),
        LayerFailed("sft_policies: loss must be finite\nThe run: train_sft of demo|sft, 1234."),
        ConfigurationError("unknown experiment 'stf'. Accepted: sft."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failure_of_a_walk_is_its_sentence_without_the_traces_of_what_led_to_it(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any) -> None:
        try:
            raise OSError("what led to it")
        except OSError as cause:
            raise error from cause

    monkeypatch.setattr(walk_jobs, "walk_experiments", fails)
    result = launched(walk_jobs.retrain, asked, {"dataset": DATASET})
    [failed] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failed.user_failure_data is not None
    assert failed.user_failure_data.description == str(error)
    assert failed.error is not None
    assert failed.error.cause is None
    assert failed.error.context is None
    assert "what led to it" not in failed.error.to_string()


def test_an_error_that_nobody_expects_keeps_its_trace(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(walk_jobs, "walk_experiments", fails)
    result = launched(walk_jobs.retrain, asked, {"dataset": DATASET})
    [failed] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failed.user_failure_data is None
    assert failed.error is not None
    assert failed.error.cause is not None
    assert "in fails" in failed.error.cause.to_string()
