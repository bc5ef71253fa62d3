"""What the probes have in common: an observed share beside chance, and reasons in plain words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

NOISE = 4.0
"""Standard errors beyond chance that noise is granted: a false alarm in about 30,000 probes."""
ENOUGH = 20.0
"""Cases that chance must give before their absence says anything: none at all then has a probability of 2e-9."""

Numbers = Mapping[str, int | float | str]


class Probe(Protocol):
    """What every probe returns."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the table must not be published, a plain sentence each; empty when it may."""
        ...

    @property
    def detail(self) -> Numbers:
        """Every number, and the reasons under `message`."""
        ...


@dataclass(frozen=True)
class Rate:
    """An observed share with what chance gives and the largest value that passes."""

    value: float
    chance: float
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether it is within its threshold."""
        return self.value <= self.threshold


def message(reasons: tuple[str, ...], otherwise: str) -> str:
    """The reasons as one text, or what to say where there are none."""
    return "; ".join(reasons) or otherwise
