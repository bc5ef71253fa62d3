"""Verdicts on the guarantees of a table, which it is published with. How a guarantee is proven is not here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import dagster as dg

from assets.transforms.guarantees.finding import Finding
from contracts.tables import TABLES
from evaluation.leakage.probe import LeakProbe


@dataclass(frozen=True)
class Check:
    """The verdict on one guarantee. A failed one that blocks stops the publication."""

    name: str
    passed: bool
    detail: Mapping[str, int | float | str] = field(default_factory=dict)
    blocks: bool = True
    is_leak: bool = False
    """A failed one that is a leak does not block a run that accepts leaks; see `assets/lake/leaks.py`."""


def leak_check(name: str, probe: LeakProbe) -> Check:
    """The verdict of a leak probe: it blocks, unless the run accepts leaks."""
    return Check(name, not probe.reasons, probe.detail, is_leak=True)


def warning(name: str, probe: LeakProbe) -> Check:
    """The verdict of a leak probe that blocks nothing."""
    return Check(name, not probe.reasons, probe.detail, blocks=False)


def check(name: str, *findings: Finding) -> Check:
    """The verdict on findings that together are one guarantee."""
    broken = [finding for finding in findings if not finding.passed]
    return Check(
        name,
        not broken,
        {
            "checked": sum(finding.checked for finding in findings),
            "violations": sum(finding.violations for finding in findings),
            "message": " ".join(finding.message for finding in broken or findings),
        },
    )


def check_specs(asset: str, *names: str) -> list[dg.AssetCheckSpec]:
    """The checks an asset publishes with; `schema` is one of them for every table."""
    every = ("schema", *names) if asset in TABLES else names
    return [dg.AssetCheckSpec(name, asset=asset, blocking=True) for name in every]


def accepting(checks: Sequence[Check]) -> list[Check]:
    """The checks, of which those that are leaks block nothing."""
    return [replace(each, blocks=each.blocks and not each.is_leak) for each in checks]
