"""Publishing a pool of negatives that a training command has written: by its path, against loading it whole.

    python benchmarks/publication.py                     ten million negatives of round 0
    python benchmarks/publication.py --rounds 2          of round 1, which is also compared with the round before
    python benchmarks/publication.py --negatives 1000000

Both contenders do what the asset `mined_negatives` does after its training command has ended: they describe the table,
look for train items among the negatives, hold every row to the schema, hash the bytes and publish. One hands on the
path; the other reads the table into memory and writes it again, as the first version did. Each is a process of its own
that ends with a line of JSON: wall and processor seconds, peak resident memory, and what it held before the step began,
which is what the imports take. The published bytes are compared.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pyarrow as pa

from assets.lake.checks import check, check_specs
from assets.lake.parquet import write_table
from assets.lake.publish import Content, Work, publish
from assets.learning.mined_negatives import described
from assets.transforms.guarantees.finding import no_train_item_among_negatives
from assets.transforms.rounds import compare_rounds
from contracts.words import MINERS
from evaluation.schemas import schema_of
from orchestration.resources.lake import LakeStorage
from training.io.writers import arrow_schema, write_parts

PER_ROW, ROWS_OF_USER, TRAIN_ITEMS, CATALOGUE = 40, 10, 1_000, 50_000
SHARD = 16_384
PARTITION = ("bench", "sft")
CHECK = "no_train_item_among_a_rows_negatives"


def write_log(folder: Path, n_rows: int) -> None:
    """histories and interactions: every user has touched items below TRAIN_ITEMS only."""
    random = np.random.default_rng(0)
    user = np.arange(n_rows) // ROWS_OF_USER
    item = (random.integers(0, TRAIN_ITEMS, n_rows // ROWS_OF_USER + 1)[user] + np.arange(n_rows)) % TRAIN_ITEMS
    histories = pl.DataFrame({"row_id": np.arange(n_rows), "user_id": user, "split": "train", "target": item})
    histories = histories.with_columns(history=pl.concat_list("target")).select(list(schema_of("histories")))
    write_table(histories.cast(schema_of("histories")), folder / "histories.parquet")
    log = pl.DataFrame({"user_id": user, "item_id": item, "split": "train"})
    write_table(log.cast({"user_id": pl.Int32, "item_id": pl.Int32}), folder / "interactions.parquet")


def shards(n_rows: int, mining_round: int) -> Iterator[pa.Table]:
    """Shards of `mined_negatives` as a policy would fill them: per row ten negatives of each miner."""
    random = np.random.default_rng(mining_round)
    per_miner = PER_ROW // len(MINERS)
    for first in range(0, n_rows, SHARD):
        row = np.arange(first, min(first + SHARD, n_rows))
        n, shape = len(row) * PER_ROW, (len(row), PER_ROW)
        step = random.integers(1, (CATALOGUE - TRAIN_ITEMS) // PER_ROW, (len(row), 1))
        logp = random.normal(-9, 2, n).clip(max=0).astype(np.float32)
        columns = [
            np.repeat(row, PER_ROW).astype(np.int32),
            (TRAIN_ITEMS + step * np.arange(PER_ROW)).astype(np.int32).ravel(),
            logp,
            random.integers(1, CATALOGUE, n).astype(np.int32),
            (-7 - logp).astype(np.float32),
            logp > -8,
            pa.array(np.broadcast_to(np.repeat(sorted(MINERS), per_miner), shape).ravel()),
            np.broadcast_to(np.tile(np.arange(1, per_miner + 1), len(MINERS)), shape).ravel().astype(np.int32),
            np.full(n, mining_round, dtype=np.int32),
            pa.repeat("sft", n),
        ]
        yield pa.table(columns, schema=arrow_schema("mined_negatives"))


def publish_pool(folder: Path, home: Path, n_rounds: int, *, by_path: bool) -> None:
    """What follows the training command in `mined_negatives`."""

    def compute(work: Work) -> dict[str, Content]:
        path = work.folders["mined_negatives"] / "mined_negatives.parquet"
        path.hardlink_to(pools[-1])
        read: Any = pl.scan_parquet if by_path else pl.read_parquet
        table = read(path)
        histories, interactions = read(folder / "histories.parquet"), read(folder / "interactions.parquet")
        found = no_train_item_among_negatives(table, histories, interactions)
        metadata = described(table.lazy())
        if n_rounds > 1:
            metadata["hard_kept"] = compare_rounds(read(pools[-2]), table).hard_kept
        if not by_path:
            path.unlink()  # it is written anew, and is not to write through the link
        return {"mined_negatives": Content(path if by_path else table, metadata, [check(CHECK, found)])}

    @dg.asset(code_version="1", check_specs=check_specs("mined_negatives", CHECK))
    def mined_negatives(context: dg.AssetExecutionContext) -> Iterator[Any]:
        yield from publish(context, lake, compute, partition=PARTITION, config={})

    pools = [folder / f"pool-{number}.parquet" for number in range(n_rounds)]
    lake = LakeStorage(root=str(home / "lake"), warehouse=str(home / "warehouse.duckdb"))
    imports = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([mined_negatives], instance=instance)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "contender": "by path" if by_path else "loaded whole",
        "wall_s": round(time.perf_counter() - started, 1),
        "processor_s": round(usage.ru_utime + usage.ru_stime, 1),
        "imports_mb": round(imports / 1e3),
        "peak_mb": round(usage.ru_maxrss / 1e3),
        "data_version": lake.require("mined_negatives", PARTITION).data_version,
    }
    print(json.dumps(result))


def write_inputs(folder: Path, n_rows: int, n_rounds: int) -> None:
    """The tables that the step reads, and the pools, written as the training command writes them."""
    write_log(folder, n_rows)
    for number in range(n_rounds):
        write_parts(shards(n_rows, number), arrow_schema("mined_negatives"), folder / f"pool-{number}.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--negatives", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, choices=(1, 2), default=1)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if not given")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    n_rows = options.negatives // PER_ROW
    if options.part:
        part, folder = options.part[0], Path(options.part[1])
        if part == "inputs":
            return write_inputs(folder, n_rows, options.rounds)
        return publish_pool(folder, folder / part, options.rounds, by_path=part == "by_path")
    with TemporaryDirectory(dir=options.folder) as name:

        def run(part: str) -> list[str]:
            # Linux counts what the parent held before it started a process into the peak of that process: the parent
            # therefore makes nothing itself.
            sizes = ["--negatives", str(options.negatives), "--rounds", str(options.rounds)]
            command = [sys.executable, __file__, *sizes, "--part", part, name]
            return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()

        run("inputs")
        n_bytes = (Path(name) / "pool-0.parquet").stat().st_size
        setting = {"file_mb": round(n_bytes / 1e6), "cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
        print(json.dumps({"negatives": n_rows * PER_ROW, "rounds": options.rounds, **setting}), flush=True)
        lines = [run(part)[-1] for part in ("by_path", "whole")]
        print(*lines, sep="\n")
        ours, whole = map(json.loads, lines)
        assert ours["data_version"] == whole["data_version"], "the published bytes differ"
        print(json.dumps({"memory_against_whole": round(ours["peak_mb"] / whole["peak_mb"], 2), "bytes": "equal"}))
    return None


if __name__ == "__main__":
    main()
