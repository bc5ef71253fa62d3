"""Reads YAML files: line numbers, one-line errors, names, rules across files. Training never imports it."""
