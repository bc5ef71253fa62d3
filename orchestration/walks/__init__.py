"""Several layers in order: a walk takes a runner and knows no definitions."""
