"""Scores every validation and test row: its candidate set, and the full catalogue with the exact rank of the target.

Where the data set keeps repeats, the catalogue holds the items of the history too.
A policy whose prompts list candidates ranks these alone: on the catalogue the prompt would give the answer away.

python -m training.score SPEC.json     a contracts.config.ScoreSpec in, OUTPUT/predictions.parquet out
"""

import sys
from collections.abc import Sequence

from contracts.config import ScoreSpec
from contracts.words import FULL, HELD_OUT
from contracts.words import of_candidates as protocol_of_candidates
from training.command import run_command
from training.loop.telemetry import TelemetryWriter

RESULT = "predictions.parquet"


def score(spec: ScoreSpec, telemetry: TelemetryWriter) -> dict[str, float]:
    """Predicts all rows; returns nothing but counts, for what the predictions are worth is judged elsewhere."""
    import numpy as np
    import pyarrow as pa

    from training.engine.device import prepare_device
    from training.engine.rank_rows import rank_rows
    from training.engine.rankings import Ranking, joined_rankings
    from training.io.policy_folder import load_policy
    from training.io.ragged import Ragged
    from training.io.readers import read_candidate_sets, read_rows
    from training.io.rows import joined_rows
    from training.io.writers import arrow_schema, list_array, write_table
    from training.representations.candidate_prompts import with_given
    from training.representations.prompted_rows import fit_context

    policy = load_policy(spec.policy, prepare_device(spec.compute))
    n_items = policy.catalogue_of(spec.items)
    held_out = joined_rows([read_rows(spec.histories, split, n_items) for split in HELD_OUT])
    candidates = read_candidate_sets(spec.candidate_sets, held_out, n_items)
    listed = with_given(held_out, policy.vocabulary, spec.candidate_sets)
    prompts, n_cut = fit_context(listed, policy.vocabulary, policy.context)

    left_out = Ragged.empty(len(held_out)) if spec.keeps_repeats else held_out.history
    order: list[np.ndarray] = []
    of_candidates: list[Ranking] = []
    of_catalogue: list[Ranking] = []
    telemetry.start_clock()
    done = 0
    for row, ranked_candidates, ranked_catalogue in rank_rows(policy, prompts, left_out, candidates, spec.top_k):
        order.append(row)
        of_candidates.append(ranked_candidates)
        of_catalogue += [] if ranked_catalogue is None else [ranked_catalogue]
        done += len(row)
        telemetry.progress("rows", done, len(held_out))

    in_row_order = np.argsort(np.concatenate([np.zeros(0, dtype=np.int64), *order]), kind="stable")
    tables = []
    ranked = [([protocol_of_candidates(n) for n in candidates.lengths], of_candidates)]
    if not policy.vocabulary.n_candidates:
        ranked.append(([FULL] * len(held_out), of_catalogue))
    for protocols, rankings in ranked:
        ranking = joined_rankings(rankings).take(in_row_order)
        columns = {
            "row_id": pa.array(held_out.row_id.astype(np.int32)),
            "protocol": pa.array(protocols, pa.string()),
            "items": list_array(ranking.items.offsets, ranking.items.values.astype(np.int32)),
            "scores": list_array(ranking.items.offsets, ranking.scores),
            "target_rank": pa.array(ranking.target_rank.astype(np.int32)),
        }
        tables.append(pa.table(columns, schema=arrow_schema("predictions")))
    order_of_table = [("row_id", "ascending"), ("protocol", "ascending")]
    write_table(pa.concat_tables(tables).sort_by(order_of_table), spec.output / RESULT)
    return {"rows": len(held_out), "rows_cut_to_context": n_cut}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return run_command(ScoreSpec, score, (RESULT,), arguments)


if __name__ == "__main__":
    sys.exit(main())
