"""Runs: a folder that explains itself, plain training loops, checkpoints that survive anything."""
