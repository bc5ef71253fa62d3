"""How many examples a law gets, which tests come first, and tables for tests of training.

The tables hold users with a taste, made on the spot by the rules of the data contract.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings

for name, examples in {"quick": 15, "thorough": 40}.items():  # of `make check` and of `make test`
    settings.register_profile(name, max_examples=examples, deadline=None, derandomize=True, database=None)
settings.load_profile("quick")

TESTS = Path(__file__).parent
WITH_PROCESSES = ("pipeline", "integration", "gpu")
"""Folders whose tests walk, serve or need a device: all of them are slow."""
LONGEST = ("pipeline/test_whole_way.py", "pipeline/test_interrupted.py", "pipeline/test_rounds.py")
"""Files to begin with, so that no worker is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(TESTS / folder in item.path.parents for folder in WITH_PROCESSES):
            item.add_marker(pytest.mark.slow)
    places = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def title_of(item: int) -> str:
    """Of one to four words; several begin alike."""
    words = ["The", "Quiet", "Red", "House", "River", "of", "Winter"]
    return " ".join([words[item % 3], *[words[item // 3**k % 7] for k in range(item % 4)], str(item)])


@dataclass(frozen=True)
class Tables:
    """Parquet files of one small data set."""

    folder: Path
    n_items: int

    @property
    def histories(self) -> Path:
        return self.folder / "histories.parquet"

    @property
    def items(self) -> Path:
        return self.folder / "items.parquet"

    @property
    def interactions(self) -> Path:
        return self.folder / "interactions.parquet"

    @property
    def candidate_sets(self) -> Path:
        return self.folder / "candidate_sets.parquet"

    def rows(self, split: str | None = None) -> list[dict[str, Any]]:
        """Rows of the table histories."""
        rows = pq.read_table(self.histories).to_pylist()
        return [row for row in rows if split is None or row["split"] == split]


def simulate_tables(
    folder: Path, *, users: int = 40, items: int = 30, mean_length: int = 9, max_length: int = 8, seed: int = 0
) -> Tables:
    """Each user walks a ring of items with small steps, rarely anywhere: the last item says much about the next."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    interactions: list[tuple[int, int, str]] = []
    histories: dict[str, list[tuple[int, list[int], int]]] = {"train": [], "validation": [], "test": []}
    candidates: list[list[int]] = []
    for user in range(users):
        length = min(4 + int(random.geometric(1 / mean_length)), 2 * items // 3)
        sequence, at = [], int(random.integers(items))
        while len(sequence) < length:
            at = (at + int(random.integers(1, 4))) % items if random.random() < 0.85 else int(random.integers(items))
            while at in sequence:
                at = (at + 1) % items
            sequence.append(at)
        splits = ["train"] * (length - 2) + ["validation", "test"]
        interactions += [(user, item, split) for item, split in zip(sequence, splits, strict=True)]
        owned = 1
        for start in range(0, length - 2, max(1, max_length // 2)):
            window = sequence[start : min(start + max_length + 1, length - 2)]
            for target in range(max(owned, start + 1), start + len(window)):
                histories["train"].append((user, sequence[start:target], sequence[target]))
            owned = max(owned, start + len(window))
        for split, target in (("validation", length - 2), ("test", length - 1)):
            histories[split].append((user, sequence[max(0, target - max_length) : target], sequence[target]))
    rows = [(user, split, history, target) for split, part in histories.items() for user, history, target in part]
    touched: dict[int, set[int]] = {}
    for user, item, _ in interactions:
        touched.setdefault(user, set()).add(item)
    held_out = [(row_id, user, target) for row_id, (user, split, _, target) in enumerate(rows) if split != "train"]
    for _, user, target in held_out:
        others = [item for item in range(items) if item not in touched[user]]
        candidate_set = [target, *random.permutation(others)[:4].tolist()]
        candidates.append(random.permutation(candidate_set).tolist())
    _write(
        folder / "histories.parquet",
        row_id=pa.array(range(len(rows)), pa.int32()),
        user_id=pa.array([row[0] for row in rows], pa.int32()),
        split=pa.array([row[1] for row in rows]),
        history=pa.array([row[2] for row in rows], pa.list_(pa.int32())),
        target=pa.array([row[3] for row in rows], pa.int32()),
    )
    _write(
        folder / "items.parquet",
        item_id=pa.array(range(items), pa.int32()),
        item=pa.array([f"id-{item:03}" for item in range(items)]),
        title=pa.array([title_of(item) for item in range(items)]),
    )
    _write(
        folder / "interactions.parquet",
        user_id=pa.array([row[0] for row in interactions], pa.int32()),
        item_id=pa.array([row[1] for row in interactions], pa.int32()),
        split=pa.array([row[2] for row in interactions]),
    )
    _write(
        folder / "candidate_sets.parquet",
        row_id=pa.array([row[0] for row in held_out], pa.int32()),
        candidates=pa.array(candidates, pa.list_(pa.int32())),
    )
    return Tables(folder, items)


def _write(path: Path, **columns: pa.Array) -> None:
    pq.write_table(pa.table(columns), path)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return simulate_tables(tmp_path / "tables")


@pytest.fixture
def simulate() -> Callable[..., Tables]:
    return simulate_tables


@pytest.fixture
def telemetry_lines() -> Callable[[Path], list[dict[str, Any]]]:
    def read(output: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (output / "telemetry.jsonl").read_text().splitlines()]

    return read
