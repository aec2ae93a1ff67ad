"""Fetches a stream's user and session in the worker, within the project's ``worker_middleware``."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from channels.db import database_sync_to_async
from django.utils.functional import SimpleLazyObject, empty

from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.streams import ASGIApplication, Middleware

__all__ = ["FetchMiddleware", "InWorker", "Waiting", "fetch"]


class Waiting(SimpleLazyObject):  # type: ignore[type-arg]
    """Stands for a user or a session that was not fetched yet.

    Synchronous code may look at it, which fetches it. Middleware such as ``AuthMiddleware`` of
    Channels may put another object into it.
    """


async def fetch(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return a scope with its user and session in place of what stands for them."""
    waiting = {key: value for key, value in scope.items() if type(value) is Waiting}
    if not waiting:
        return dict(scope)
    return {**scope, **await database_sync_to_async(_fetch_all)(waiting)}


def _fetch_all(waiting: dict[str, Any]) -> dict[str, Any]:
    for value in waiting.values():
        if value._wrapped is empty:
            value._setup()
    fetched = {key: value._wrapped for key, value in waiting.items()}
    if "session" in fetched:
        fetched["session"].keys()  # loads it, so that async consumers may read it
    return fetched


class FetchMiddleware:
    """Fetches the user and the session of a stream that is hosted in a worker.

    A worker does this within ``worker_middleware``, around the consumer. Middleware that needs
    the user can be put inside of this one::

        def worker_middleware(inner):
            return TenantMiddleware(FetchMiddleware(BindUserMiddleware(inner)))

    Where nothing is left to fetch, as in the server's process, it changes nothing.

    Args:
        inner: An ASGI application.
    """

    def __init__(self, inner: ASGIApplication) -> None:
        self.inner = inner

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Run the application with the scope's user and session.

        Args:
            scope: A scope of type ``websocket``.
            receive: Gives messages.
            send: Takes messages.
        """
        await self.inner(await fetch(scope), receive, send)


class InWorker:
    """A stream's application with the demultiplexer's ``worker_middleware`` around it.

    Args:
        application: The stream's application.
        middleware: Makes an application of an application.

    Attributes:
        inner: The stream's application, where a walk through the applications finds its consumer.

    Raises:
        ConfigurationError: The middleware fails, or returns no application.
    """

    def __init__(self, application: ASGIApplication, middleware: Middleware) -> None:
        self.inner = application
        try:
            outer = middleware(FetchMiddleware(application))
        except Exception as error:  # it is the project's, and may raise anything
            raise ConfigurationError(
                f"worker_middleware {middleware!r} cannot be put around a stream: "
                f"{type(error).__name__}: {error}. It is called with one ASGI application."
            ) from error
        if not callable(outer):
            raise ConfigurationError(
                f"worker_middleware {middleware!r} returned {outer!r}. It has to return an ASGI "
                "application."
            )
        self._outer: ASGIApplication = outer

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Run the middleware, and in it the stream's application."""
        await self._outer(scope, receive, send)
