"""Real processes for the acceptance tests and the benchmarks: Redis, servers, workers, clients."""
