"""What every configuration is made of."""

import hashlib
import json

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A configuration that cannot drift: immutable, a misspelt key is an error and no default, a number is finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def identity(config: BaseModel, *, exclude: set[str] | None = None) -> str:
    """Sixteen hexadecimal digits of the meaning of `config`: key order and spelling of numbers do not matter."""
    meaning = config.model_dump(mode="json", exclude=exclude)
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]
