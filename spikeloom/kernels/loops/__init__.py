"""The loops over time: `definition` in torch, and the source of the generated modules for Numba and Triton."""
