"""Columns that many tables have."""

from .benchmark import Column

RATE = Column("rate", "echoes/s", "", ",.0f")
EDGE = Column("edge_cpu", "edge", "us/frame", ",.1f")
WORKER = Column("worker_cpu", "worker", "us/frame", ",.1f")
REDIS = Column("redis_cpu", "redis", "us/frame", ",.1f")
COMMANDS = Column("commands", "commands", "/frame", ".2f")
MEDIAN = Column("p50", "p50", "ms", ",.2f")
SLOWEST = Column("p99", "p99", "ms", ",.1f")
LOST = Column("lost", "lost", "", ",.0f")

ECHO = (RATE, EDGE, WORKER, REDIS, COMMANDS, MEDIAN, SLOWEST, LOST)

#: What a chart stacks.
CPU = {"edge_cpu": "edge", "worker_cpu": "worker", "redis_cpu": "Redis"}
CPU_TITLE = "Processor time for each frame, in microseconds"
