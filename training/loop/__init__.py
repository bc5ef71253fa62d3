"""The optimizer loop: accumulation, workers, telemetry, validation, resume points. No model code."""
