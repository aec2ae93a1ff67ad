"""The whole system in one process on virtual time, driven by a seed: see `run.simulate()`."""
