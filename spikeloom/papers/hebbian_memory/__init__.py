"""Memory-enriched computation in spiking networks through Hebbian plasticity (Limbacher et al., 2022)."""
