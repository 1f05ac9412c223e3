"""One model into another: rates to spikes, networks of rectified units to spiking ones, thresholds, NIR."""
