"""Parallelisable spiking neurons: SPSN and ParaLIF."""
