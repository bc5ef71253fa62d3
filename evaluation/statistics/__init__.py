"""Whether differences are real: intervals, paired tests, seeds, gates, collapse."""
