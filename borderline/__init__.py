"""The face: the command line and a small Python API. Nothing imports it."""
