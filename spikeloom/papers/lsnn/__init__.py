"""Long short-term memory and learning-to-learn in networks of spiking neurons (Bellec et al., 2018)."""
