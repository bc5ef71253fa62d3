"""Proofs that hold between finished tables; they share no code with what made the tables."""
