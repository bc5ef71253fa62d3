"""Mines the pool of negatives of every train row, with a policy's log-probabilities.

python -m training.mine SPEC.json     a contracts.config.MineSpec in, OUTPUT/mined_negatives.parquet out

Rows are mined in shards, each a file that appears whole or not at all: with `shards` in the specification, a mining
that was interrupted goes on behind the last one. What is mined for a row does not depend on the shard it is in.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.config import MineSpec
from training.command import run_command
from training.loop.telemetry import Telemetry

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Bool, Float, Int

    from training.engine.policy import Policy
    from training.engine.windows import Windows
    from training.io.ragged import Ragged
    from training.negatives.drawn import BlindMiners

RESULT = "mined_negatives.parquet"
CLUSTERS = 3
"""Of the boundary selection, as in DynamicPO."""
CHUNK_ROWS = 16_384
"""Rows of a shard, where an item is one token."""
CHUNK_ROWS_OF_TOKENS = 2048
"""Rows of a shard, where an item is several: they take longer."""


def mine(spec: MineSpec, telemetry: Telemetry) -> dict[str, float]:
    """Mines shard by shard, in the order of the rows; returns shares over all that was mined."""
    import numpy as np
    import pyarrow.parquet as pq

    from training.engine.device import prepare_device
    from training.engine.policy import fit_context
    from training.engine.windows import find_windows
    from training.io.policy_folder import load_policy
    from training.io.readers import read_popularity, read_rows, read_touched
    from training.io.writers import commit, staging_path, write_table
    from training.negatives.drawn import Batches, BlindMiners
    from training.representations.candidate_prompts import with_drawn

    policy = load_policy(spec.policy, prepare_device(spec.compute))
    n_items = policy.catalogue_of(spec.items)
    vocabulary = policy.vocabulary
    if vocabulary.n_candidates:
        spec.pool.require_from_list(vocabulary.n_candidates)
    rows = with_drawn(read_rows(spec.histories, "train", n_items), vocabulary, spec.interactions, telemetry.progress)
    rows, _ = fit_context(rows, vocabulary, policy.context)
    touched = read_touched(spec.interactions, int(rows.user_id.max(initial=-1)) + 1, n_items)
    batches = Batches.of(rows.row_id, rows.target, spec.pool.batch, spec.seed)
    blind = BlindMiners(spec.pool, spec.seed, read_popularity(spec.interactions, n_items), batches)
    windows = find_windows(rows)
    folder = (spec.shards or spec.output / "shards") / _fingerprint(spec)
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[Path] = []
    telemetry.start_clock()
    ends = windows.members.offsets[1:]
    start = n_kept = 0
    while start < len(windows):
        n_rows = CHUNK_ROWS if policy.is_direct else CHUNK_ROWS_OF_TOKENS
        end = min(max(int(np.searchsorted(ends, ends[start] + n_rows - 1)) + 1, start + 1), len(windows))
        shard = folder / f"rows-{int(windows.members.offsets[start])}-{int(ends[end - 1])}.parquet"
        if shard.is_file():
            n_kept += 1
            telemetry.start_clock(int(ends[end - 1]))
        else:
            done = int(windows.members.offsets[start])
            write_table(
                _mined(
                    policy,
                    windows.take(np.arange(start, end)),
                    touched,
                    blind,
                    spec,
                    lambda n, done=done: telemetry.progress("rows", done + n, len(rows)),
                ),
                shard,
            )
        shards.append(shard)
        start = end
        telemetry.progress("rows", int(ends[end - 1]), len(rows))
    if n_kept:
        telemetry.write("diagnostic", {"shards_of_an_earlier_attempt": n_kept})
    staging = staging_path(spec.output / RESULT)
    counts = np.zeros(4, dtype=np.int64)
    with pq.ParquetWriter(staging, _schema()) as writer:
        for shard in shards:
            table = pq.read_table(shard)
            writer.write_table(table)
            counts += _counts(table, spec, n_items)
    commit(staging, spec.output / RESULT)
    for shard in shards:
        shard.unlink()
    folder.rmdir()
    if spec.shards is None:
        folder.parent.rmdir()
    n_mined, n_boundary, n_violations, n_short = counts.tolist()
    return {
        "mined_negatives": n_mined,
        "boundary_share": n_boundary / max(n_mined, 1),
        "violation_share": n_violations / max(n_mined, 1),
        "rows_with_short_pool": n_short,
    }


def _mined(
    policy: "Policy",
    windows: "Windows",
    touched: "Ragged",
    blind: "BlindMiners",
    spec: MineSpec,
    progress: Callable[[int], None],
) -> "pa.Table":
    """The pools of the rows of some windows, in the order of the rows."""
    import numpy as np
    import pyarrow as pa

    from training.engine.catalogue_scores import catalogue_scores, item_scores
    from training.negatives.drawn import ABSENT, touched_or_target
    from training.negatives.pool import MINERS, mine_pool, mine_sample, sample_of

    rows, n_items, index, parts, done = windows.rows, policy.vocabulary.n_items, [], [], 0

    def is_touched(row: np.ndarray) -> np.ndarray:
        return touched_or_target(touched, rows.take(row), n_items)

    def items_to_score(row: np.ndarray) -> np.ndarray:
        """The target, the sample, and what is drawn without scores; the sample is what a prompt lists, if it does."""
        assert spec.pool.scored is not None
        target = rows.target[row, None]
        if rows.candidates is not None:
            listed = rows.candidates.take(row).padded(ABSENT)
            return np.concatenate([target, listed[listed != target].reshape(len(row), -1)], axis=1)
        excluded, row_id = is_touched(row), rows.row_id[row]
        sample = sample_of(excluded, row_id, spec.pool.scored, spec.seed)
        items = np.concatenate([target, sample, blind.draw(excluded, row_id)], axis=1)
        return np.where(items == ABSENT, target, items)

    whole = spec.pool.scored is None
    for row, logps in catalogue_scores(policy, windows) if whole else item_scores(policy, windows, items_to_score):
        scores = logps.cpu().numpy()
        if whole:
            excluded, row_id = is_touched(row), rows.row_id[row]
            mined = mine_pool(scores, excluded, row_id, spec.pool, spec.seed, blind.draw(excluded, row_id))
            logp = np.take_along_axis(scores, np.maximum(mined.items, 0), axis=1)
            chosen = scores[np.arange(len(row)), rows.target[row]]
        else:
            mined, logp = mine_sample(items_to_score(row)[:, 1:], scores[:, 1:], rows.target[row], spec.pool, n_items)
            chosen = scores[:, 0]
        shape = mined.items.shape
        miner, place = (np.broadcast_to(column, shape) for column in (mined.miner, mined.place))
        index.append(row)
        on_boundary = _on_boundary(chosen, logp, mined.items)
        parts.append((mined.items, logp, mined.rank, chosen[:, None] - logp, on_boundary, miner, place))
        done += len(row)
        progress(done)
    row = np.concatenate(index)
    order = np.argsort(row, kind="stable")
    items, *columns = (np.concatenate(column)[order] for column in zip(*parts, strict=True))
    is_mined = items != ABSENT
    logp, rank, margin, on_boundary, miner, place = (column[is_mined] for column in columns)
    return pa.table(
        [
            np.repeat(rows.row_id[row[order]], is_mined.sum(axis=1)).astype(np.int32),
            items[is_mined].astype(np.int32),
            logp,
            rank.astype(np.int32),
            margin,
            on_boundary,
            pa.DictionaryArray.from_arrays(miner, list(MINERS)).cast(pa.string()),
            place,
            np.full(len(logp), spec.round, dtype=np.int32),
            pa.repeat(spec.policy_name, len(logp)),
        ],
        schema=_schema(),
    )


def _on_boundary(
    chosen: "Float[np.ndarray, ' r']", logp: "Float[np.ndarray, 'r n']", items: "Int[np.ndarray, 'r n']"
) -> "Bool[np.ndarray, 'r n']":
    """Which negatives lie on the boundary; one that several miners found weighs once in the clusters."""
    import numpy as np
    import torch

    from training.negatives.drawn import ABSENT, is_repeat
    from training.objectives.boundary import select_boundary

    is_mined = items != ABSENT
    is_first = is_mined & ~is_repeat(items)
    found = select_boundary(
        torch.from_numpy(chosen), torch.from_numpy(logp), torch.from_numpy(is_first), clusters=CLUSTERS
    ).numpy()
    lowest = np.where(found, logp, np.inf).min(axis=1, initial=np.inf)
    return is_mined & (logp >= lowest[:, None])


def _schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        {
            "row_id": pa.int32(),
            "item_id": pa.int32(),
            "logp": pa.float32(),
            "rank": pa.int32(),
            "margin": pa.float32(),
            "on_boundary": pa.bool_(),
            "miner": pa.string(),
            "place": pa.int32(),
            "round": pa.int32(),
            "policy": pa.string(),
        }
    )


def _counts(table: "pa.Table", spec: MineSpec, n_items: int) -> "np.ndarray":
    """Of one shard: negatives, those on the boundary, those that outrank the chosen item, rows short of negatives."""
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


def _fingerprint(spec: MineSpec) -> str:
    """Of everything that a shard depends on: shards of another mining are not taken for those of this one."""
    digest = hashlib.sha256()
    for path in (spec.policy / "policy.json", spec.histories, spec.interactions, spec.items):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    fields = {"pool", "round", "seed", "policy_name", "compute"}
    digest.update(json.dumps(spec.model_dump(mode="json", include=fields), sort_keys=True).encode())
    return digest.hexdigest()[:16]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return run_command(MineSpec, mine, (RESULT,), arguments)


if __name__ == "__main__":
    sys.exit(main())
