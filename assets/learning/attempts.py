"""What an interrupted attempt at a policy left: its checkpoints, and which tracked run it was.

<checkpoints>/<dataset>/<experiment>/<hash of what it is made from>/step-…    written by the training command
                                                                   run.json  the tracked run of the last attempt
Removed once the policy is published; what was made from other things is removed before the next attempt.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.lake.partitions import Keys
from assets.lake.publish import Inputs
from contracts.durable import write_json

RUN = "run.json"


@dataclass(frozen=True)
class Attempt:
    """The next attempt at one policy."""

    checkpoints: Path
    """For the training command."""
    interrupted: str | None
    """The tracked run of the attempt before, if that was interrupted."""

    def begin(self, run_id: str) -> None:
        """Remembers which tracked run this attempt is."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_json(self.checkpoints / RUN, {"run_id": run_id})


def next_attempt(root: Path, keys: Keys, made_from: Mapping[str, Any], inputs: Inputs, *, afresh: bool) -> Attempt:
    """The attempt at a policy made from these things; removes what attempts at other ones left.

    Args:
        root: folder of all checkpoints.
        keys: of the policy.
        made_from: configuration and code version, as JSON values.
        inputs: whose data versions it depends on.
        afresh: what an interrupted attempt left is removed too.
    """
    versions = sorted((version.asset, version.data_version) for version in inputs.versions)
    whole = json.dumps({"made_from": made_from, "inputs": versions}, sort_keys=True)
    folder = _folder(root, keys) / hashlib.sha256(whole.encode()).hexdigest()[:16]
    if folder.parent.is_dir():
        for other in folder.parent.iterdir():
            if afresh or other != folder:
                shutil.rmtree(other)
    run = folder / RUN
    return Attempt(folder, json.loads(run.read_text(encoding="utf-8"))["run_id"] if run.exists() else None)


def remove_attempts(root: Path, keys: Keys) -> None:
    """All that attempts at a policy left: it is published."""
    shutil.rmtree(_folder(root, keys), ignore_errors=True)


def _folder(root: Path, keys: Keys) -> Path:
    return root / keys.dataset / keys.experiment
