"""Reports of nodes, health checks, and a worker's HTTP pages."""
