"""Data assets, one a file: from raw files to histories and candidate sets. Pure functions are in assets/transforms."""
