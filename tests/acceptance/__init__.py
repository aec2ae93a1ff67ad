"""Tests over real processes: Redis, ASGI servers, workers and sockets."""
