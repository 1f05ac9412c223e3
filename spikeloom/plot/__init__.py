"""Arrays to figures: every function takes numpy arrays and returns a matplotlib Figure; none keeps global state."""
