"""Derivation of gradients: `equation` parses an equation and derives its adjoint, by the SymPy words of `symbols`."""
