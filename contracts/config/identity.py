"""Frozen models, and the one way in which the meaning of something becomes sixteen hexadecimal digits.

`identity` is that of a configuration, `fingerprint_of` that of anything else as plain data: what a table was made from,
what a shard depends on. Which identities belong into such a fingerprint is for its caller to say.
"""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A configuration that cannot drift: immutable, a misspelt key is an error and no default, a number is finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def fingerprint_of(meaning: Any) -> str:
    """Sixteen hexadecimal digits of what JSON can hold; the order of keys does not matter.

    >>> fingerprint_of({"lr": 3e-4, "seed": 0}) == fingerprint_of({"seed": 0, "lr": 0.0003})
    True
    """
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]


def identity(config: BaseModel) -> str:
    """The fingerprint of all that `config` means, defaults included; its spelling in a file does not matter."""
    return fingerprint_of(config.model_dump(mode="json"))
