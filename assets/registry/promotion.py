"""Who serves: the champion, until a contender beats it on the newest validation rows, or a person decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from assets.data.repeats import TARGETS_ARE_NEW
from assets.lake.asset import Request, Step, asset
from assets.lake.freshness import MeasuredExperiments
from assets.lake.leaks import accepted_in, leak_tags
from assets.lake.partitions import ANY_EXPERIMENT_FILE, DATASETS
from assets.lake.ports import Launcher, Tracker
from assets.lake.publish import Content
from assets.lake.reads import Read, same_dataset
from assets.lake.versions import Version
from assets.registry.champion import reevaluated
from assets.registry.history import Decision, Line, champion_of, read_history, served_before, write_history
from assets.registry.registration import registration_of
from assets.results.measurement import beyond_accuracy_of
from contracts.words import CHAMPION_TAG, MAIN_METRIC, REASON_TAG, ROLLBACK_TAG
from evaluation.reports.document import Table, as_markdown
from evaluation.statistics.gates import Contender, Verdict, judge
from evaluation.statistics.significance import STANDARD

METRICS = Read(
    "metrics",
    (dg.AssetDep("metrics"),),
    lambda partition, of: [("metrics", (*partition, name)) for name in (*of.contenders, *of.now.floors)],
    is_many=True,
)
REGISTERED = Read(
    "registered_models",
    (dg.AssetDep("registered_models"),),
    lambda partition, of: [("registered_models", (*partition, name)) for name in of.contenders],
    is_many=True,
)


@asset(
    by=DATASETS,
    plan=lambda request: _candidates(request),
    file=ANY_EXPERIMENT_FILE,
    reads=[METRICS, REGISTERED, same_dataset("histories"), same_dataset("items"), same_dataset("interactions")],
    config=lambda of: {"metric": MAIN_METRIC, "resamples": STANDARD.times, "seed": STANDARD.seed},
    group="registry",
    kinds={"mlflow"},
    owner="serving",
    still_valid=lambda version, of, tracker: not of.is_by_person and _still_serves(version, tracker),
    keeps_history=True,
)
def promotion(
    step: Step,
    of: "Candidates",
    metrics: list[Version],
    registered_models: list[Version],
    histories: Version,
    items: Version,
    interactions: Version,
    launcher: Launcher,
    tracker: Tracker,
) -> Content:
    """The best contender on validation becomes `challenger`, and `champion` if it beats the one that is, re-evaluated.

    Test rows decide nothing. A person overrules with the run tags `borderline/champion` (a version) or
    `borderline/rollback`, and `borderline/reason`; or with `borderline promote` and `borderline rollback`.
    """
    (dataset,) = step.partition
    history = read_history(step.previous)
    leaks = accepted_in(step.inputs.versions)
    before = tracker.champion(dataset)
    if of.is_by_person:
        decision = _of_person(step.tags, tracker, dataset, before, history)
    else:
        measured = {version.partition[1]: version for version in metrics}
        judged = _judged(of, measured, registered_models)
        champion: Contender | None = None
        if before is not None:
            holder = _holder(tracker, dataset, before, of.contenders, registered_models)
            champion = (
                reevaluated(step.info, launcher, tracker, dataset, before, histories, items, interactions)
                if holder is None
                else judged[holder]
            )
        verdict = judge(
            judged,
            champion=champion,
            floors={name: measured[name].table() for name in of.now.floors},
            faults={f"no leak in {leak.asset}": f"{leak.check}: {leak.reasons}" for leak in leaks},
        )
        decision = _of_verdict(verdict, of.contenders, before)
        if caution := caution_of(histories):
            decision = replace(decision, reason=f"{decision.reason}. Caution: {caution}")
    tags = {
        "promotion.run": step.run_id,
        "promotion.outcome": decision.outcome,
        "promotion.reason": decision.reason,
        **leak_tags(leaks),
    }
    history = [*history, decision.line(step.run_id)]
    write_history(step.folder, history)
    # Last: a disk that is full stops the decision before anything has moved.
    if decision.challenger is not None:
        tracker.set_alias(dataset, "challenger", decision.challenger, {**tags, **_gate_tags(decision)})
    if decision.champion is not None and decision.champion != before:
        tracker.set_alias(dataset, "champion", decision.champion, tags)
    return Content(metadata=_metadata(decision, history, tracker, dataset))


def caution_of(histories: Version) -> str:
    """The warning that `histories` was published with where most targets are the last item; empty without one."""
    checks = histories.manifest.get("checks", ())
    return next((c["detail"]["message"] for c in checks if c["name"] == TARGETS_ARE_NEW and not c["passed"]), "")


@dataclass(frozen=True)
class Candidates:
    """The plan of a promotion."""

    now: MeasuredExperiments
    contenders: Mapping[str, str]
    """Experiment → its version, of those that the registry still has."""
    is_by_person: bool


def _candidates(request: Request) -> Candidates:
    (dataset,) = request.partition
    now = request.published.measured_experiments(dataset)
    contenders: dict[str, str] = {}
    for name in now.current:
        found = (
            None if now.kinds[name] == "baseline" else request.published.current("registered_models", (dataset, name))
        )
        if found is not None and request.tracker.version_exists(dataset, version := registration_of(found)["version"]):
            contenders[name] = version
    return Candidates(now, contenders, CHAMPION_TAG in request.tags or ROLLBACK_TAG in request.tags)


def _still_serves(version: Version, tracker: Tracker) -> bool:
    return tracker.champion(version.partition[0]) == champion_of(version)


def _judged(of: Candidates, measured: Mapping[str, Version], registered: Sequence[Version]) -> dict[str, Contender]:
    versions = {version.partition[1]: version for version in registered}
    return {
        name: Contender(
            measured[name].table(),
            beyond_accuracy_of(measured[name], "validation"),
            can_collapse=of.now.kinds[name] == "preference",
            collapse=registration_of(versions[name]).get("collapse"),
        )
        for name in of.contenders
    }


def _of_verdict(verdict: Verdict, contenders: Mapping[str, str], before: str | None) -> Decision:
    challenger = contenders[verdict.challenger]
    wins = verdict.wins and challenger != before
    if challenger == before:
        reason = f"{verdict.challenger} serves already, and is the best on validation"
    elif wins:
        reason = f"{verdict.challenger} passed every gate"
    else:
        reason = f"{verdict.challenger} did not win. {'; '.join(verdict.reasons)}"
    return Decision(
        outcome="promoted" if wins else "kept",
        champion=challenger if wins else before,
        previous=before,
        challenger=challenger,
        reason=reason,
        gates=verdict.as_json(),
    )


def _of_person(
    tags: Mapping[str, str], tracker: Tracker, dataset: str, before: str | None, history: Sequence[Line]
) -> Decision:
    reason = tags.get(REASON_TAG, "").strip()
    if not reason:
        raise dg.Failure(
            f"a person's decision must give its reason, got none. Set the run tag {REASON_TAG}.", allow_retries=False
        )
    if ROLLBACK_TAG in tags:
        version = served_before(before, history)
        if version is None:
            now = "no champion" if before is None else f"no champion before version {before}"
            raise dg.Failure(
                f"{dataset} must have had another champion to roll back to, it has {now}. Name one: borderline "
                f"promote --dataset {dataset} --version N --reason …",
                allow_retries=False,
            )
    else:
        version = tags[CHAMPION_TAG]
    if not tracker.version_exists(dataset, version):
        stays = "There still is no champion" if before is None else f"The champion stays version {before}"
        raise dg.Failure(
            f"version {version} of borderline-{dataset} must be in the registry, with its files; it is not. {stays}. "
            f"Name one that is: borderline promote --dataset {dataset} --version N --reason …",
            allow_retries=False,
        )
    outcome = "rolled back" if ROLLBACK_TAG in tags else "overridden"
    return Decision(outcome, version, before, None, reason, {})


def _holder(
    tracker: Tracker, dataset: str, champion: str, contenders: Mapping[str, str], registered: Sequence[Version]
) -> str | None:
    """The contender whose policy is the champion's, metrics and all; None, when the champion is an older one."""
    policy = next((v.tags.get("policy") for v in tracker.versions(dataset) if v.version == champion), None)
    for version in registered:
        name = version.partition[1]
        if contenders[name] == champion or (policy and policy == registration_of(version).get("policy")):
            return name
    return None


def _gate_tags(decision: Decision) -> dict[str, str]:
    gates = decision.gates.get("gates", [])
    return {f"gate.{gate['name']}": f"{'passed' if gate['passed'] else 'failed'}: {gate['detail']}" for gate in gates}


def _metadata(decision: Decision, history: Sequence[Line], tracker: Tracker, dataset: str) -> dict[str, Any]:
    columns = ["at", "outcome", "champion", "previous", "reason"]
    decisions = [[str(entry[key] or "none") for key in columns] for entry in reversed(history)]
    gates = [
        [gate["name"], "passed" if gate["passed"] else "failed", gate["detail"]]
        for gate in decision.gates.get("gates", [])
    ]
    metadata: dict[str, Any] = {
        "outcome": decision.outcome,
        "champion_version": decision.champion or "none",
        "previous_version": decision.previous or "none",
        "challenger_version": decision.challenger or "none",
        "reason": decision.reason,
        "gates": dg.MetadataValue.md(as_markdown([Table(["gate", "verdict", "found"], gates)])),
        "history": dg.MetadataValue.md(as_markdown([Table(columns, decisions)])),
        "verdict": dg.MetadataValue.json(dict(history[-1])),
    }
    if decision.champion is not None:
        metadata["model_page"] = dg.MetadataValue.url(tracker.version_url(dataset, decision.champion))
    return metadata
