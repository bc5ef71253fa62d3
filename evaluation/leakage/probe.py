"""The common ground of leak probes: an observed share beside chance, and reasons in plain words."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

NOISE = 4.0
"""Standard errors beyond chance that noise is granted: a false alarm in about 30,000 probes."""
ENOUGH = 20.0
"""Cases that chance must give before their absence says anything: none at all then has a probability of 2e-9."""

Numbers = Mapping[str, int | float | str]


class LeakProbe(ABC):
    """The result of a leak probe: numbers, and whether the table may be published."""

    @property
    @abstractmethod
    def reasons(self) -> tuple[str, ...]:
        """Why the table must not be published, a plain sentence each; empty when it may."""

    @property
    @abstractmethod
    def all_clear(self) -> str:
        """The message where there are no reasons."""

    @property
    @abstractmethod
    def numbers(self) -> Numbers:
        """Everything that was counted, by name."""

    @property
    def passed(self) -> bool:
        """Whether the table may be published."""
        return not self.reasons

    @property
    def detail(self) -> Numbers:
        """Every number, and the reasons as one text under `message`."""
        return {"message": "; ".join(self.reasons) or self.all_clear, **self.numbers}


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
