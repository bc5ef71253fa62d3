"""Mines the pool of negatives of every train row, with a policy's log-probabilities.

python -m training.mine SPEC.json     a contracts.config.MineSpec in, OUTPUT/mined_negatives.parquet out

Rows are mined in shards, each a file that appears whole or not at all: with `shards` in the specification, an
interrupted mining resumes after its last shard. The negatives of a row do not depend on the shard that it is in.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.config import MineSpec, fingerprint_of
from training.command import run_command
from training.loop.telemetry import TelemetryWriter

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from training.engine.windows import Windows

RESULT = "mined_negatives.parquet"
CHUNK_ROWS = 16_384
"""Rows of a shard, where an item is one token."""
CHUNK_ROWS_OF_TOKENS = 2048
"""Rows of a shard, where an item is several: they take longer."""


def mine(spec: MineSpec, telemetry: TelemetryWriter) -> dict[str, float]:
    """Mines shard by shard, in the order of the rows; returns shares over all that was mined."""
    # seconds of loading, which a wrong specification does not wait for
    from training.engine.device import prepare_device
    from training.engine.windows import find_windows
    from training.io.policy_folder import load_policy
    from training.io.readers import read_popularity, read_touched
    from training.io.writers import write_table
    from training.loop.origin import files_read
    from training.loop.resume_points import warn
    from training.negatives.drawn import Batches, BlindMiners
    from training.negatives.mining import Miner
    from training.representations.prompted_rows import train_rows

    policy = load_policy(spec.policy, prepare_device(spec.compute))
    n_items, vocabulary = policy.catalogue_of(spec.items), policy.vocabulary
    if vocabulary.n_candidates:
        spec.pool.require_from_list(vocabulary.n_candidates)
    rows, _ = train_rows(spec.histories, spec.interactions, vocabulary, policy.context, telemetry.progress)
    touched = read_touched(spec.interactions, int(rows.user_id.max(initial=-1)) + 1, n_items)
    batches = Batches.of(rows.row_id, rows.target, spec.pool.batch, spec.seed)
    blind = BlindMiners(spec.pool, spec.seed, read_popularity(spec.interactions, n_items), batches)
    miner = Miner(policy, touched, blind)
    chosen = spec.model_dump(mode="json", include={"pool", "round", "seed", "policy_name", "compute"})
    folder = (spec.shards or spec.output / "shards") / fingerprint_of(files_read(spec) | chosen)
    folder.mkdir(parents=True, exist_ok=True)
    others = [other.name for other in folder.parent.iterdir() if other != folder]
    if others:
        warn(f"{folder.parent} also holds shards of another mining ({', '.join(sorted(others))}): they are not used.")
    shards: list[Path] = []
    n_kept = 0
    telemetry.start_clock()
    for first, end, windows in _parts(find_windows(rows), CHUNK_ROWS if policy.is_direct else CHUNK_ROWS_OF_TOKENS):
        shard = folder / f"rows-{first}-{end}.parquet"
        if shard.is_file():
            n_kept += 1
            telemetry.start_clock(end)
        else:

            def progress(done: int, first: int = first) -> None:
                telemetry.progress("rows", first + done, len(rows))

            write_table(miner.table(windows, spec.round, spec.policy_name, progress), shard)
        shards.append(shard)
        telemetry.progress("rows", end, len(rows))
    if n_kept:
        telemetry.write("diagnostic", {"shards_of_an_earlier_attempt": n_kept})
    n_mined, n_boundary, n_violations, n_short = _join(shards, spec, n_items)
    for shard in shards:
        shard.unlink()
    folder.rmdir()
    if spec.shards is None:
        folder.parent.rmdir()
    return {
        "mined_negatives": n_mined,
        "boundary_share": n_boundary / max(n_mined, 1),
        "violation_share": n_violations / max(n_mined, 1),
        "rows_with_short_pool": n_short,
    }


def _parts(windows: "Windows", n_rows: int) -> "Iterator[tuple[int, int, Windows]]":
    """The windows in parts of at most n rows, or of one window: the first row of each part, the end, the windows."""
    import numpy as np

    offsets = windows.members.offsets
    start = 0
    while start < len(windows):
        end = int(np.searchsorted(offsets[1:], offsets[start + 1] + n_rows - 1)) + 1
        end = min(max(end, start + 1), len(windows))
        yield int(offsets[start]), int(offsets[end]), windows.take(np.arange(start, end))
        start = end


def _join(shards: Sequence[Path], spec: MineSpec, n_items: int) -> list[int]:
    """Writes the shards as one table, in their order; returns the sums of their counts."""
    import numpy as np
    import pyarrow.parquet as pq

    from training.io.writers import arrow_schema, write_parts

    schema, counts = arrow_schema("mined_negatives"), np.zeros(4, dtype=np.int64)

    def tables() -> "Iterator[pa.Table]":
        for shard in shards:
            table = pq.read_table(shard).cast(schema)
            counts[:] += _counts(table, spec, n_items)
            yield table

    write_parts(tables(), schema, spec.output / RESULT)
    return counts.tolist()


def _counts(table: "pa.Table", spec: MineSpec, n_items: int) -> "np.ndarray":
    """A shard's negatives, those on the boundary, those that outrank the chosen item, and rows short of negatives."""
    import numpy as np

    _, per_row = np.unique(table["row_id"].to_numpy(), return_counts=True)
    pool = spec.pool
    wanted = sum(min(n, n_items) for n in (pool.hard, pool.in_batch, pool.popularity, pool.uniform))
    margin = table["margin"].to_numpy()
    return np.array(
        [
            len(table),
            int(table["on_boundary"].to_numpy().sum()),
            int((margin <= 0).sum()),
            int((per_row < wanted).sum()),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return run_command(MineSpec, mine, (RESULT,), arguments)


if __name__ == "__main__":
    sys.exit(main())
