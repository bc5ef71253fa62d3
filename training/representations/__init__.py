"""How items become tokens."""
