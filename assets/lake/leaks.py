"""Accepted leaks: what a person let through, and who has to be told for as long as numbers come from it.

A leak probe that does not pass stops the publication. With `borderline run --accept-leaks`, or the run tag below on any
run or backfill, the table is published all the same; its manifest says which leaks were accepted, by which run, and so
does the manifest of everything that is made from it, down to the leaderboard. Without the tag, nothing that has
accepted leaks is reused or read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import dagster as dg

from assets.lake.versions import Version
from contracts.words import ACCEPT_LEAKS_TAG

REMEDY = (
    "Mend the data; or run it anyway, with every number from it marked: borderline run --accept-leaks, in the Dagster "
    f"UI the tag {ACCEPT_LEAKS_TAG} = true on the run or backfill"
)


@dataclass(frozen=True)
class AcceptedLeak:
    """One leak probe that did not pass, and was accepted."""

    asset: str
    """The table that leaks."""
    check: str
    reasons: str
    run_id: str
    """The Dagster run that accepted it."""

    @property
    def name(self) -> str:
        """As the leaderboard calls it: table and check."""
        return f"{self.asset}.{self.check}"


def accepted_leaks(version: Version) -> list[AcceptedLeak]:
    """The leaks of a version and of everything it was made from."""
    return [AcceptedLeak(**entry) for entry in version.manifest.get("accepted_leaks", ())]


def accepted_in(versions: Iterable[Version]) -> list[AcceptedLeak]:
    """The leaks of several versions, each once, by name."""
    return list({leak.name: leak for version in versions for leak in accepted_leaks(version)}.values())


def recorded(*groups: Sequence[AcceptedLeak]) -> list[dict[str, str]]:
    """Leaks as a manifest holds them, each once, by name."""
    by_name = {leak.name: leak for group in groups for leak in group}
    return [asdict(by_name[name]) for name in sorted(by_name)]


def is_accepting(tags: Mapping[str, str]) -> bool:
    """Whether the tags of a run accept leaks."""
    return tags.get(ACCEPT_LEAKS_TAG) == "true"


def refuse_accepted(leaks: Sequence[AcceptedLeak], made_from: str) -> None:
    """Raises where leaks that an earlier run accepted would be used by one that does not accept them.

    Raises:
        dg.Failure: there is such a leak.
    """
    if leaks:
        said = "; ".join(f"{leak.name}: {leak.reasons}" for leak in leaks)
        raise dg.Failure(
            f"{made_from} has leaks that run {leaks[0].run_id} accepted and this run does not: {said}. {REMEDY}.",
            allow_retries=False,
        )


def leak_tags(leaks: Sequence[AcceptedLeak]) -> dict[str, str]:
    """What a tracked run or a registered version says of the leaks behind its numbers."""
    if not leaks:
        return {"leaks_accepted": "false"}
    return {
        "leaks_accepted": "true",
        "leaks": ", ".join(leak.name for leak in leaks),
        "leaks.reasons": "; ".join(f"{leak.name}: {leak.reasons}" for leak in leaks)[:4000],
    }
