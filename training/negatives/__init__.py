"""How negatives are mined."""
