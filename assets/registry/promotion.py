"""Who serves: the champion, until a contender beats it on the newest validation rows, or a person decides.

Every decision is a line of the promotion history, with every number it rests on.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.lake.checks import check_specs
from assets.lake.freshness import standing
from assets.lake.leaks import accepted_in, leak_tags
from assets.lake.partitions import DATASETS
from assets.lake.ports import Launcher, Tracker
from assets.lake.publish import Content, Inputs, publish
from assets.lake.versions import Lake, Partition, Version
from assets.registry.champion import reevaluated
from assets.registry.registered_models import registration_of
from assets.results.metrics import beyond_accuracy_of
from contracts.words import CHAMPION_TAG, MAIN_METRIC, REASON_TAG, ROLLBACK_TAG
from evaluation.statistics.gates import Contender, Verdict, judge
from evaluation.statistics.significance import STANDARD


@dataclass(frozen=True)
class Decision:
    """What became of the alias `champion`."""

    outcome: str
    """promoted, kept, overridden or rolled back."""
    champion: str | None
    """The version that serves now."""
    previous: str | None
    """The one that served before."""
    challenger: str | None
    reason: str
    gates: Mapping[str, Any]

    def line(self, run_id: str) -> dict[str, Any]:
        """Of the promotion history."""
        return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "run_id": run_id, **self.__dict__}


@dg.asset(
    deps=["registered_models", "leaderboard", "metrics", "histories", "items", "interactions"],
    partitions_def=DATASETS,
    group_name="registry",
    kinds={"mlflow"},
    owners=["team:serving"],
    code_version="3",
    pool="gpu",
    check_specs=check_specs("promotion"),
)
def promotion(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    launcher: dg.ResourceParam[Launcher],
    tracker: dg.ResourceParam[Tracker],
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """The best contender on validation becomes `challenger`, and `champion` if it beats the one that is, re-evaluated.

    Test rows decide nothing. A person overrules with the run tags `borderline/champion` (a version) or
    `borderline/rollback`, and `borderline/reason`; or with `borderline promote` and `borderline rollback`.
    """
    dataset = context.partition_key
    now = standing(lake, dataset)
    registered = {
        name: _registration(lake, tracker, (dataset, name)) for name in now.current if now.kinds[name] != "baseline"
    }
    contenders = {name: version for name, version in registered.items() if version is not None}
    floors = now.floors
    inputs: list[tuple[str, Partition]] = [("metrics", (dataset, name)) for name in [*contenders, *floors]]
    inputs += [("registered_models", (dataset, name)) for name in contenders]
    inputs += [(table, (dataset,)) for table in ("histories", "items", "interactions")]
    decided_by_person = CHAMPION_TAG in context.run.tags or ROLLBACK_TAG in context.run.tags

    def promote(inputs: Inputs, staged: Mapping[str, Path]) -> dict[str, Content]:
        folder = staged["promotion"]
        # What is damaged was refused already, unless somebody forces it: then the lines that are left go on.
        history = _history(lake.newest_whole("promotion", (dataset,)))
        leaks = accepted_in(inputs.versions)
        before = tracker.champion(dataset)
        if decided_by_person:
            decision = _of_person(context.run.tags, tracker, dataset, before, history)
        else:
            measured = {version.partition[1]: version for version in inputs.all("metrics")}
            versions = {version.partition[1]: version for version in inputs.all("registered_models")}
            judged = {
                name: Contender(
                    measured[name].table(),
                    beyond_accuracy_of(measured[name], "validation"),
                    can_collapse=now.kinds[name] == "preference",
                    collapse=registration_of(versions[name]).get("collapse"),
                )
                for name in contenders
            }
            champion: Contender | None = None
            if before is not None:
                holder = _holder(tracker, dataset, before, contenders, inputs)
                champion = (
                    reevaluated(context, launcher, tracker, dataset, before, inputs)
                    if holder is None
                    else judged[holder]
                )
            verdict = judge(
                judged,
                champion=champion,
                floors={name: measured[name].table() for name in floors},
                faults={f"no leak in {leak.asset}": f"{leak.check}: {leak.reasons}" for leak in leaks},
            )
            decision = _of_verdict(verdict, contenders, before)
        tags = {
            "promotion.run": context.run.run_id,
            "promotion.outcome": decision.outcome,
            "promotion.reason": decision.reason,
            **leak_tags(leaks),
        }
        line = decision.line(context.run.run_id)
        (folder / "verdict.json").write_text(json.dumps(line, indent=1), encoding="utf-8")
        lines = [json.dumps(entry) for entry in [*history, line]]
        (folder / "history.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        # Last: a disk that is full stops the decision before anything has moved.
        if decision.challenger is not None:
            tracker.set_alias(dataset, "challenger", decision.challenger, {**tags, **_gate_tags(decision)})
        if decision.champion is not None and decision.champion != before:
            tracker.set_alias(dataset, "champion", decision.champion, tags)
        return {"promotion": Content(metadata=_metadata(decision, line, [*history, line], tracker, dataset))}

    def still_champion(version: Version) -> bool:
        if decided_by_person:
            return False
        verdict = json.loads(version.path("verdict.json").read_text(encoding="utf-8"))
        return tracker.champion(dataset) == verdict["champion"]

    yield from publish(
        context,
        lake,
        promote,
        partition=(dataset,),
        inputs=inputs,
        config={"metric": MAIN_METRIC, "resamples": STANDARD.times, "seed": STANDARD.seed},
        still_valid=still_champion,
    )


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
    tags: Mapping[str, str], tracker: Tracker, dataset: str, before: str | None, history: list[dict[str, Any]]
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


def served_before(champion: str | None, history: list[dict[str, Any]]) -> str | None:
    """The version that served before the champion; None, when none did.

    A rollback takes the last one away for good, so that a second one goes further back, not to what the first one left.
    Whoever was given the alias in the registry itself counts as well.
    """
    served: list[str] = []
    for entry in history:
        now, previous = entry["champion"], entry["previous"]
        if previous is not None and served[-1:] != [previous]:
            served.append(previous)
        if entry["outcome"] == "rolled back" and now in served:
            served = served[: len(served) - served[::-1].index(now)]
        elif now is not None and served[-1:] != [now]:
            served.append(now)
    if champion is not None and served[-1:] != [champion]:
        served.append(champion)
    return served[-2] if len(served) > 1 else None


def _holder(tracker: Tracker, dataset: str, champion: str, contenders: Mapping[str, str], inputs: Inputs) -> str | None:
    """The contender whose policy is the champion's, metrics and all; None, when the champion is an older one."""
    policy = next((v.tags.get("policy") for v in tracker.versions(dataset) if v.version == champion), None)
    for registered in inputs.all("registered_models"):
        name = registered.partition[1]
        if contenders[name] == champion or (policy and policy == registration_of(registered).get("policy")):
            return name
    return None


def _registration(lake: Lake, tracker: Tracker, partition: Partition) -> str | None:
    """The version of an experiment's current policy, if the registry still has what the lake says was registered."""
    found = lake.current("registered_models", partition)
    if found is None:
        return None
    version = registration_of(found)["version"]
    return version if tracker.version_exists(partition[0], version) else None


def _history(version: Version | None) -> list[dict[str, Any]]:
    if version is None or not (version.folder / "history.jsonl").exists():
        return []
    return [json.loads(line) for line in version.path("history.jsonl").read_text(encoding="utf-8").splitlines()]


def _gate_tags(decision: Decision) -> dict[str, str]:
    gates = decision.gates.get("gates", [])
    return {f"gate.{gate['name']}": f"{'passed' if gate['passed'] else 'failed'}: {gate['detail']}" for gate in gates}


def _metadata(
    decision: Decision, line: Mapping[str, Any], history: list[dict[str, Any]], tracker: Tracker, dataset: str
) -> dict[str, Any]:
    table = pl.DataFrame(
        {
            key: [str(entry[key] or "none") for entry in reversed(history)]
            for key in ("at", "outcome", "champion", "previous", "reason")
        }
    )
    lines = ["| gate | verdict | found |", "|---|---|---|"]
    for gate in decision.gates.get("gates", []):
        lines.append(f"| {gate['name']} | {'passed' if gate['passed'] else 'failed'} | {gate['detail']} |")
    metadata: dict[str, Any] = {
        "outcome": decision.outcome,
        "champion_version": decision.champion or "none",
        "previous_version": decision.previous or "none",
        "challenger_version": decision.challenger or "none",
        "reason": decision.reason,
        "gates": dg.MetadataValue.md("\n".join(lines)),
        "history": dg.MetadataValue.md(_markdown(table)),
        "verdict": dg.MetadataValue.json(dict(line)),
    }
    if decision.champion is not None:
        metadata["model_page"] = dg.MetadataValue.url(tracker.version_url(dataset, decision.champion))
    return metadata


def _markdown(table: pl.DataFrame) -> str:
    lines = [f"| {' | '.join(table.columns)} |", f"|{'---|' * table.width}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in table.rows())])
