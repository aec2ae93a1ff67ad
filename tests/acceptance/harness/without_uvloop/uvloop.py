"""Stands before uvloop on the path of a process that is to run on asyncio's own event loop."""

raise ImportError("This process runs on asyncio's own event loop.")
