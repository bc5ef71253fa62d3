"""One asset job for each layer of the graph, and nothing else.

A job cannot span two partition definitions, so a whole way from raw files to registry is a walk over these jobs, in
`orchestration.walks`; `orchestration.walk_jobs` has the jobs that a person launches for a whole way.
"""

import dagster as dg

ingest = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets(
        "raw_interactions",
        "raw_items",
        "paper_rows",
        "quarantine",
        "interactions",
        "users",
        "items",
        "splits",
        "histories",
        "candidate_sets",
    ),
    description="Raw files → clean tables, histories and candidate sets of one data set.",
)
train_sft = dg.define_asset_job(
    "train_sft",
    selection=dg.AssetSelection.assets("sft_policies", "mined_negatives"),
    description="A supervised policy, and the pool of negatives it mines. For experiments of kind sft.",
)
train_preference = dg.define_asset_job(
    "train_preference",
    selection=dg.AssetSelection.assets("preference_rows", "reference_logps", "preference_policies"),
    description="A preference policy from the policy it starts from. For experiments of kind preference.",
)
mine = dg.define_asset_job(
    "mine",
    selection=dg.AssetSelection.assets("mined_negatives"),
    description="The pool of a later round, mined by the policy of the round before; or the first one, for kind sft.",
)
evaluate = dg.define_asset_job(
    "evaluate",
    selection=dg.AssetSelection.assets("predictions", "metrics"),
    description="Predictions and metrics of one experiment, on both protocols.",
)
register = dg.define_asset_job(
    "register",
    selection=dg.AssetSelection.assets("registered_models"),
    description="A trained and evaluated policy as a version in the MLflow registry.",
)
compare = dg.define_asset_job(
    "compare",
    selection=dg.AssetSelection.assets("leaderboard"),
    description="The leaderboard of one data set.",
)
promote = dg.define_asset_job(
    "promote",
    selection=dg.AssetSelection.assets("promotion"),
    description="Gives the alias `champion` to the best version of one data set.",
)
report = dg.define_asset_job(
    "report",
    selection=dg.AssetSelection.assets("study_reports"),
    description="The report of a study on one data set, about the experiments that are measured.",
)
report_published = dg.define_asset_job(
    "report_published",
    selection=dg.AssetSelection.assets("paper_comparison"),
    description="Our results beside published ones, over all data sets of a study of kind published.",
)

LAYERS = [ingest, train_sft, mine, train_preference, evaluate, register, compare, promote, report, report_published]
