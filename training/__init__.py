"""Training and scoring of policies: on a bare GPU machine. Each stage is `python -m training.<stage> SPEC.json`."""
