"""Log-probabilities of chosen and rejected items under the reference, computed once for all objectives and seeds.

python -m training.reference SPEC.json     a contracts.config.ReferenceSpec in, OUTPUT/reference_logps.parquet out
"""

import sys
from collections.abc import Sequence

from contracts.config import ReferenceSpec
from training.command import run_command
from training.loop.telemetry import TelemetryWriter

RESULT = "reference_logps.parquet"


def compute_reference(spec: ReferenceSpec, telemetry: TelemetryWriter) -> dict[str, float]:
    """Scores every (row, item) of the preference rows; the chosen item of a row first, its rejected ones as listed."""
    # seconds of loading, which a wrong specification does not wait for
    import numpy as np
    import pyarrow as pa

    from training.engine.catalogue_scores import item_scores
    from training.engine.device import prepare_device
    from training.engine.windows import find_windows
    from training.io.policy_folder import load_policy
    from training.io.readers import read_preference_rows
    from training.io.writers import arrow_schema, write_table
    from training.representations.prompted_rows import train_rows

    policy = load_policy(spec.policy, prepare_device(spec.compute))
    n_items = policy.catalogue_of(spec.items)
    rows, n_cut = train_rows(spec.histories, spec.interactions, policy.vocabulary, policy.context, telemetry.progress)
    preferences = read_preference_rows(spec.preference_rows, rows, n_items)
    items, is_asked, line = preferences.items(padding=0), preferences.is_asked, preferences.line(len(rows))
    logps = np.full(items.shape, np.nan, dtype=np.float32)
    telemetry.start_clock()
    done = 0
    for row, scores in item_scores(policy, find_windows(rows).keep(line >= 0), lambda row: items[line[row]]):
        logps[line[row]] = scores.cpu().numpy()
        done += len(row)
        telemetry.progress("rows", done, len(preferences.row))
    values = logps[is_asked]
    if not np.isfinite(values).all():
        raise FloatingPointError(
            f"log-probabilities must be finite, got NaN or infinity from {spec.policy}. Train it again."
        )
    row_id = np.broadcast_to(rows.row_id[preferences.row, None], items.shape)[is_asked]
    table = {
        "row_id": row_id.astype(np.int32),
        "item_id": items[is_asked].astype(np.int32),
        "logp": values,
        "tokens": policy.vocabulary.completions.lengths[items[is_asked]].astype(np.int32),
    }
    write_table(pa.table(table, schema=arrow_schema("reference_logps")), spec.output / RESULT)
    return {
        "pairs": len(values),
        "rows_cut_to_context": n_cut,
        "mean_chosen_logp": float(logps[:, 0].mean(dtype=np.float64)) if len(logps) else 0.0,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return run_command(ReferenceSpec, compute_reference, (RESULT,), arguments)


if __name__ == "__main__":
    sys.exit(main())
