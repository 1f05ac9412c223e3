"""Reproductions of papers, one folder each. Papers import the library, never each other."""
