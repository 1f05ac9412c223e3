"""Where a loop runs: `choose` picks the engine, `cpu` and `gpu` call its modules, `operators` are what torch sees."""
