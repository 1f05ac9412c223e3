"""Figures: every function takes numpy arrays and returns a matplotlib Figure, without global state."""
