"""Mines the pool of negatives of every train row, with a policy's log-probabilities over the whole catalogue.

python -m training.mine SPEC.json     a training.config.MineSpec in, OUTPUT/mined_negatives.parquet out
"""

import sys
from collections.abc import Sequence

from training.command import run_command
from training.config import MineSpec
from training.telemetry import Telemetry

RESULT = "mined_negatives.parquet"
CLUSTERS = 3
"""Of the boundary selection, as in DynamicPO."""
CHUNK_ROWS = 16_384
"""Rows mined and written at once."""


def mine(spec: MineSpec, telemetry: Telemetry) -> dict[str, float]:
    """Mines chunk by chunk, in the order of the rows; returns shares over all that was mined."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    from training.checkpoint import load_policy
    from training.device import prepare_device
    from training.negatives.pool import ABSENT, mine_pool
    from training.objectives.boundary import select_boundary
    from training.policy import fit_context
    from training.scoring import catalogue_scores
    from training.tables import publish_file, read_rows, read_touched, staging_path
    from training.windows import find_windows

    policy = load_policy(spec.policy, prepare_device(spec.compute))
    n_items = policy.catalogue_of(spec.items)
    rows, _ = fit_context(read_rows(spec.histories, "train", n_items), policy.vocabulary, policy.context)
    touched = read_touched(spec.interactions, int(rows.user_id.max(initial=-1)) + 1, n_items)
    windows = find_windows(rows)
    schema = pa.schema(
        {
            "row_id": pa.int32(),
            "item_id": pa.int32(),
            "logp": pa.float32(),
            "rank": pa.int32(),
            "margin": pa.float32(),
            "on_boundary": pa.bool_(),
            "miner": pa.string(),
            "round": pa.int32(),
            "policy": pa.string(),
        }
    )
    n_mined = n_boundary = n_violations = n_short = 0
    wanted = min(spec.pool.hard, n_items) + min(spec.pool.uniform, n_items)
    staging = staging_path(spec.output / RESULT)
    telemetry.start_clock()
    with pq.ParquetWriter(staging, schema) as writer:
        ends = windows.members.offsets[1:]
        start = 0
        while start < len(windows):
            end = int(np.searchsorted(ends, ends[start] + CHUNK_ROWS - 1)) + 1
            end = min(max(end, start + 1), len(windows))
            index, parts = [], []
            for row, logps in catalogue_scores(policy, windows.take(np.arange(start, end))):
                is_touched = np.zeros((len(row), n_items), dtype=bool)
                seen = touched.take(rows.user_id[row])
                is_touched[seen.owners, seen.values] = True
                is_touched[np.arange(len(row)), rows.target[row]] = True
                scores = logps.cpu().numpy()
                mined = mine_pool(scores, is_touched, rows.row_id[row], spec.pool, spec.seed)
                is_mined = mined.items != ABSENT
                logp = np.take_along_axis(scores, np.maximum(mined.items, 0), axis=1)
                chosen = scores[np.arange(len(row)), rows.target[row]]
                on_boundary = select_boundary(
                    torch.from_numpy(chosen), torch.from_numpy(logp), torch.from_numpy(is_mined), clusters=CLUSTERS
                ).numpy()
                index.append(row)
                parts.append((mined.items, logp, mined.rank, chosen[:, None] - logp, on_boundary))
            order = np.argsort(np.concatenate(index), kind="stable")
            row = np.concatenate(index)[order]
            items, logp, rank, margin, on_boundary = (
                np.concatenate(column)[order] for column in zip(*parts, strict=True)
            )
            is_mined = items != ABSENT
            miner = np.broadcast_to(np.arange(items.shape[1]) >= min(spec.pool.hard, n_items), items.shape)[is_mined]
            writer.write_table(
                pa.table(
                    [
                        np.repeat(rows.row_id[row], is_mined.sum(axis=1)).astype(np.int32),
                        items[is_mined].astype(np.int32),
                        logp[is_mined],
                        rank[is_mined],
                        margin[is_mined],
                        on_boundary[is_mined],
                        pa.DictionaryArray.from_arrays(miner.astype(np.int8), ["hardest", "uniform"]).cast(pa.string()),
                        np.full(is_mined.sum(), spec.round, dtype=np.int32),
                        pa.repeat(spec.policy_name, int(is_mined.sum())),
                    ],
                    schema=schema,
                )
            )
            n_mined += int(is_mined.sum())
            n_boundary += int(on_boundary[is_mined].sum())
            n_violations += int((margin[is_mined] <= 0).sum())
            n_short += int((is_mined.sum(axis=1) < wanted).sum())
            start = end
            telemetry.progress("rows", int(ends[end - 1]), len(rows))
    publish_file(staging, spec.output / RESULT)
    return {
        "mined_negatives": n_mined,
        "boundary_share": n_boundary / max(n_mined, 1),
        "violation_share": n_violations / max(n_mined, 1),
        "rows_with_short_pool": n_short,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return run_command(MineSpec, mine, RESULT, arguments)


if __name__ == "__main__":
    sys.exit(main())
