"""Execution of the loops: `choose` selects the engine, `cpu` and `gpu` call its modules, `operators` wrap them."""
