"""Resume points of a training under way: all that it needs to continue as if it had never been interrupted.

    FOLDER/step-00000120/checkpoint.json     written last: what it was made from, and size and sha256 of the other files
                         <group>.safetensors one file for each group of tensors
                         telemetry.jsonl     every line so far, without progress
    FOLDER/.step-…tmp                        one being written; no reader looks here

Nothing is pickled. Two are kept, so that one is whole whatever happens while the next is written. A resume point whose
files differ from its list is skipped with a warning that names the file, and the one before it is taken; without one,
training starts from the beginning, and says so. A resume point that was made from other inputs (experiment, tables,
starting policy, base model) is refused by name. How a training fills one and continues from it is in `loop.py`.
"""

import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from contracts.config import Frozen
from contracts.durable import commit, sha256_of
from contracts.words import TELEMETRY

CARD = "checkpoint.json"
"""Its name on disk, as in the first release: an interrupted training of an older version resumes."""
GROUPS = ("best", "optimizer", "peak", "random", "weights")
"""Of tensors."""
NAME = re.compile(r"step-(\d{8,})")
KEPT = 2


class FileEntry(Frozen):
    """A file of a resume point as it was written."""

    bytes: int
    sha256: str


class BestCard(Frozen):
    """The best weights so far on the validation rows."""

    value: float
    step: int
    metrics: dict[str, float]


class LoopState(Frozen):
    """Numbers of the loop; each is described where the loop has it."""

    validated: int
    measured: dict[str, float]
    stale: int
    is_ended: bool
    best: BestCard | None
    loss_sums: list[float]
    loss_rows: int


class ResumeCard(Frozen):
    """`checkpoint.json`."""

    format: Literal["borderline-checkpoint-2"] = "borderline-checkpoint-2"
    step: int
    """Optimizer steps done."""
    made_from: dict[str, str]
    """See `made_from`."""
    made_by: dict[str, str]
    """See `made_by`."""
    state: LoopState
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class ResumePoint:
    """A whole resume point, read."""

    folder: Path
    card: ResumeCard
    tensors: dict[str, dict[str, Tensor]]
    """By group, by name; in host memory."""
    telemetry: str
    """Lines."""


class ResumePointFailed(OSError):
    """A resume point could not be written. The one before it is untouched."""


class Torn(ValueError):
    """A resume point differs from what was written; the message names the file."""


class ResumePoints:
    """The resume points of one training, in a folder of their own."""

    def __init__(self, folder: Path, *, made_from: Mapping[str, str], made_by: Mapping[str, str]) -> None:
        self.folder, self.made_from, self.made_by = folder, dict(made_from), dict(made_by)
        self.saved_at = time.monotonic()
        self.saved_step = 0
        self.n_torn = 0
        """How many `newest` skipped."""

    def newest(self) -> Path | None:
        """The newest whole one; None where training starts at its first step.

        Raises:
            ValueError: it was made from other inputs than those of this training.
        """
        for path in reversed(self._all()):
            try:
                card = read_card(path)
            except Torn as torn:
                warn(f"{torn} This resume point is skipped.")
                self.n_torn += 1
                continue
            for name in sorted(self.made_from.keys() | card.made_from.keys()):
                theirs, ours = card.made_from.get(name, "nothing"), self.made_from.get(name, "nothing")
                if theirs != ours:
                    raise ValueError(
                        f"checkpoints must hold resume points of this training, got {path}, made from another {name} "
                        f"({theirs[:16]}, not {ours[:16]}). Delete {self.folder}, or name another folder."
                    )
            return path
        if self.n_torn:
            what = f"no resume point in {self.folder} is whole, {self.n_torn} are torn"
            warn(f"{what}: training starts from the beginning.")
        return None

    def load(self, path: Path) -> ResumePoint:
        """The resume point in a folder that `newest` gave; warns where training cannot continue to the bit."""
        card = _parsed(path)
        for name, ours in self.made_by.items():
            theirs = card.made_by.get(name, "none")
            if theirs != ours:
                warn(f"{path} was made with {name} {theirs}, this is {ours}: training continues, but not to the bit.")
        tensors = {
            name.removesuffix(".safetensors"): load_file(path / name)
            for name in card.files
            if name.endswith(".safetensors")
        }
        self.saved_at, self.saved_step = time.monotonic(), card.step
        return ResumePoint(path, card, tensors, (path / TELEMETRY).read_text(encoding="utf-8"))

    def save(self, step: int, state: LoopState, tensors: Mapping[str, Mapping[str, Tensor]], telemetry: str) -> Path:
        """Writes a resume point beside the others, down to the disk, renames it, and removes all but the last two.

        It first removes what a killed process had begun to write.

        Raises:
            ResumePointFailed: the disk is full, or refuses for another reason.
        """
        target = self.folder / f"step-{step:08d}"
        staging = self.folder / f".{target.name}.tmp"
        try:
            for left in self.folder.glob(".step-*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
            staging.mkdir(parents=True)
            for group, named in tensors.items():
                save_file(
                    {name: tensor.contiguous() for name, tensor in named.items()}, staging / f"{group}.safetensors"
                )
            (staging / TELEMETRY).write_text(telemetry, encoding="utf-8")
            files = {path.name: _entry(path) for path in sorted(staging.iterdir())}
            card = ResumeCard(step=step, made_from=self.made_from, made_by=self.made_by, state=state, files=files)
            (staging / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)  # a torn one of the same step
            commit(staging, target)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            kept = f"That of step {self.saved_step} is kept" if self.saved_step else "There is none before it"
            raise ResumePointFailed(
                f"the resume point of step {step} could not be written to {self.folder}: {error}. {kept}. "
                "Free some space, then run the same command: it resumes there."
            ) from error
        self.saved_at, self.saved_step = time.monotonic(), step
        for old in self._all()[:-KEPT]:
            shutil.rmtree(old)
        return target

    def _all(self) -> list[Path]:
        """Oldest first: by step, whatever clocks say."""
        found = [path for path in self.folder.glob("step-*") if NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def read_card(path: Path) -> ResumeCard:
    """`checkpoint.json` of a resume point whose files are all there, as they were written.

    Raises:
        Torn: a file is missing or was changed.
    """
    card = _parsed(path)
    lacking = {TELEMETRY, *(f"{group}.safetensors" for group in GROUPS)} - card.files.keys()
    if lacking:
        raise Torn(f"{path / CARD} must list {min(lacking)}, it does not.")
    for name, entry in card.files.items():
        if not (path / name).is_file():
            raise Torn(f"{path} must hold {name}, it is missing.")
        found = _entry(path / name)
        if found.bytes != entry.bytes:
            raise Torn(f"{path / name} must have {entry.bytes} bytes, got {found.bytes}.")
        if found.sha256 != entry.sha256:
            raise Torn(f"{path / name} must be the file that was written, its content differs.")
    return card


def _parsed(path: Path) -> ResumeCard:
    try:
        return ResumeCard.model_validate_json((path / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Torn(f"{path} must hold {CARD}, it is missing.") from error
    except UnicodeDecodeError as error:
        raise Torn(f"{path / CARD} must be text, it is not.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise Torn(
            f"{path / CARD} must describe a resume point of this version of borderline, got {where}: {first['msg']}."
        ) from error


def _entry(path: Path) -> FileEntry:
    return FileEntry(bytes=os.stat(path).st_size, sha256=sha256_of(path))


def warn(message: str) -> None:
    """Tells a person on stderr; work continues."""
    print(f"warning: {message}", file=sys.stderr, flush=True)
