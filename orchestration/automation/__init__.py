"""Schedules and sensors: they start work without a person."""
