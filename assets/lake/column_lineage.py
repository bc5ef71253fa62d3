"""Which columns each column of a table is made of. Imports nothing: the contract test holds it to the schemas."""

LINEAGE: dict[str, dict[str, tuple[str, ...]]] = {
    "interactions": {
        "user_id": ("raw_interactions.user",),
        "item_id": ("raw_interactions.item",),
        "at": ("raw_interactions.at",),
        "weight": ("raw_interactions.weight",),
        "split": (
            "raw_interactions.user",
            "raw_interactions.at",
            "raw_interactions.position",
            "published_rows.split",
        ),
    },
    "users": {
        "user_id": ("raw_interactions.user",),
        "user": ("raw_interactions.user",),
    },
    "items": {
        "item_id": ("raw_interactions.item",),
        "item": ("raw_interactions.item",),
        "title": ("raw_items.title",),
        "category": ("raw_items.category",),
        "text": ("raw_items.text",),
    },
    "splits": {
        "split": ("interactions.split",),
        "interactions": ("interactions.split",),
        "users": ("interactions.split", "interactions.user_id"),
        "items": ("interactions.split", "interactions.item_id"),
        "first_at": ("interactions.split", "interactions.at"),
        "last_at": ("interactions.split", "interactions.at"),
    },
    "histories": {
        "row_id": ("interactions.user_id", "interactions.split"),
        "user_id": ("interactions.user_id",),
        "split": ("interactions.split", "published_rows.split"),
        "history": ("interactions.item_id", "published_rows.history"),
        "target": ("interactions.item_id", "published_rows.target"),
    },
    "candidate_sets": {
        "row_id": ("histories.row_id",),
        "candidates": ("histories.target", "interactions.item_id", "items.item_id", "published_rows.candidates"),
    },
    "mined_negatives": {
        "row_id": ("histories.row_id",),
        "item_id": ("items.item_id", "interactions.item_id"),
        "logp": ("histories.history", "items.item_id"),
        "rank": ("histories.history", "interactions.item_id", "items.item_id"),
        "margin": ("histories.history", "histories.target", "items.item_id"),
        "on_boundary": ("histories.history", "histories.target", "items.item_id"),
        "miner": (),
        "place": ("histories.history", "interactions.item_id", "items.item_id"),
        "round": (),
        "policy": (),
    },
    "preference_rows": {
        "row_id": ("histories.row_id",),
        "chosen": ("histories.target",),
        "rejected": tuple(
            f"mined_negatives.{column}" for column in ("item_id", "miner", "rank", "place", "on_boundary")
        ),
    },
    "reference_logps": {
        "row_id": ("preference_rows.row_id",),
        "item_id": ("preference_rows.chosen", "preference_rows.rejected"),
        "logp": ("histories.history", "preference_rows.chosen", "preference_rows.rejected"),
        "tokens": ("preference_rows.chosen", "preference_rows.rejected"),
    },
    "predictions": {
        "row_id": ("histories.row_id",),
        "protocol": (),
        "items": ("histories.history", "candidate_sets.candidates", "items.item_id"),
        "scores": ("histories.history", "candidate_sets.candidates", "items.item_id"),
        "target_rank": ("histories.history", "histories.target", "candidate_sets.candidates", "items.item_id"),
    },
    "metrics": {
        "row_id": ("predictions.row_id",),
        "user_id": ("histories.user_id",),
        "split": ("histories.split",),
        "protocol": ("predictions.protocol",),
        "metric": ("predictions.protocol",),
        "value": ("predictions.items", "predictions.target_rank", "histories.target"),
    },
}
"""table → column → `table.column` of each column it is made of; none for a constant. What a log
and a benchmark are made of stands together. Raw tables are made of files."""
