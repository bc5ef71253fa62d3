"""Files of a command: tables in, policy folders and base models in and out."""
