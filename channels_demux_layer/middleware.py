"""Middleware for streams that are hosted in workers."""

from .hosting.fetching import FetchMiddleware

__all__ = ["FetchMiddleware"]
