"""Dagster assets: each reads tables, calls a pure function, and publishes tables with metadata."""
