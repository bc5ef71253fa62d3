"""Assets that reach the model registry: registered versions, and promotion."""
