"""`python -m borderline`: the command line."""

from borderline.cli.main import main

main()
