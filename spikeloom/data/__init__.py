"""Bytes on disk to time-first tensors: download and check, read, encode."""
