"""Which registry version a published registration is about."""

import json
from typing import Any

from assets.lake.versions import Version

REGISTRATION_FILE = "registration.json"


def registration_of(version: Version) -> dict[str, Any]:
    """`version`, `run_id`, `model`, `policy` (its data version) and `collapse` (None: not judged) of a registration."""
    return json.loads(version.path(REGISTRATION_FILE).read_text(encoding="utf-8"))
