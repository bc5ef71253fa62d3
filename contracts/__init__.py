"""The cellar: what all rooms agree on. Imports no room; standard library, numpy and pydantic only."""
