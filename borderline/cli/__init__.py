"""The command line, one file a command; what it prints comes from the Python API."""
