"""Judges predictions: metrics, statistics, floors and probes. Knows polars and numpy, no orchestrator and no model."""
