"""The model that leaves the project: its code, and how it is packed."""
