"""Products of spikes and weights that cost only what fired."""
