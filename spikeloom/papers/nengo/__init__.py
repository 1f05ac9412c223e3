"""Training as rates, inference in spikes, as NengoDL does."""
