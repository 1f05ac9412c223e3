"""Training: run folders, training loops, checkpoints."""
