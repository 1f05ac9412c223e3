"""From an equation to its gradient: `equation` reads it and derives the adjoint, `symbols` are its words in SymPy."""
