"""Unsupervised learning of digits with STDP (Diehl & Cook, 2015), on images and on events."""
