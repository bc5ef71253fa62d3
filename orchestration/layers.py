"""One asset job for each layer of the graph, and nothing else.

A job cannot span two partition definitions, so a whole way from raw files to registry is a walk over these jobs, in
`orchestration.walks`; `orchestration.walk_jobs` has the jobs that a person launches for a whole way.
"""

import dagster as dg

ASSETS = {
    "ingest": (
        "Raw files → clean tables, histories and candidate sets of one data set.",
        [
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
        ],
    ),
    "train_sft": (
        "A supervised policy, and the pool of negatives it mines. For experiments of kind sft.",
        ["sft_policies", "mined_negatives"],
    ),
    "train_preference": (
        "A preference policy from the policy it starts from. For experiments of kind preference.",
        ["preference_rows", "reference_logps", "preference_policies"],
    ),
    "mine": (
        "The pool of a later round, mined by the policy of the round before; or the first one, for kind sft.",
        ["mined_negatives"],
    ),
    "evaluate": ("Predictions and metrics of one experiment, on both protocols.", ["predictions", "metrics"]),
    "register": ("A trained and evaluated policy as a version in the MLflow registry.", ["registered_models"]),
    "compare": ("The leaderboard of one data set.", ["leaderboard"]),
    "promote": ("Gives the alias `champion` to the best version of one data set.", ["promotion"]),
    "report": ("The report of a study on one data set, about the experiments that are measured.", ["study_reports"]),
    "report_published": (
        "Our results beside published ones, over all data sets of a study of kind published.",
        ["paper_comparison"],
    ),
}
"""Each job: its description, and the assets that it materialises."""

LAYERS = [
    dg.define_asset_job(name, selection=dg.AssetSelection.assets(*assets), description=description)
    for name, (description, assets) in ASSETS.items()
]
