"""Data sets: download and verify files, read them, and return time-first tensors."""
