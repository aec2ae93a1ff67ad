"""What a demultiplexer's ``consumer_classes`` may hold, checked when it is first looked at."""

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import KW_ONLY, dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal, get_args

from channels_demux_layer.exceptions import ConfigurationError

__all__ = [
    "MAX_STREAM_NAME",
    "ASGIApplication",
    "Hosting",
    "Middleware",
    "Permission",
    "Stream",
    "StreamTable",
    "Target",
    "load_middleware",
    "new_stream_table",
]

_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]
#: An ASGI 3 application.
ASGIApplication = Callable[[MutableMapping[str, Any], _Receive, _Send], Awaitable[None]]
#: What is put around an application: called with an ASGI application, it returns one.
Middleware = Callable[[Any], Any]
#: Where a stream's consumers run.
Hosting = Literal["auto", "inline", "workers"]
#: What a stream may lead to: a consumer class, an ASGI application, or a dotted path to either.
Target = type[Any] | ASGIApplication | str
#: Who may open a stream: the name of a Django permission, or what tells it from the scope.
Permission = str | Callable[[dict[str, Any]], bool | Awaitable[bool]]

#: Length of the longest stream name, in bytes of UTF-8: a binary frame has one byte for it (C1.5).
MAX_STREAM_NAME = 255

#: What RFC 6455 (4.1) takes for the name of a subprotocol: a token of HTTP.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass(frozen=True)
class Stream:
    """One entry of ``consumer_classes``, with its options.

    Attributes:
        target: A consumer class, an ASGI application, or a dotted path to either, which only
            the processes that host the stream import.
        lazy: Open the stream with its first frame, not with the connection.
        text: The stream's payloads are strings, and its consumer gets and sends them bare.
        hosting: Where its consumers run; None for what the ``HOSTING`` setting says.
        own_thread: Whether each session's synchronous code gets a thread of its own; None
            leaves it to the host.
        permission: Who may open the stream; None for everybody. A callable is given the scope and
            says whether its client may, at once or to be awaited. A string is the name of a Django
            permission, such as ``"market.view_price"``, which the scope's user must have.
        subprotocol: The one subprotocol that the stream's consumer finds offered, for consumers
            that speak no other; None for those that the client has offered for its socket.
        stateful: Whether the stream's consumer keeps what its client has told it and would have
            to tell another one. The stream then ends with 1012 where its worker goes or is lost,
            for the client to open it anew; else it goes on with another consumer.
    """

    target: Target
    _: KW_ONLY
    lazy: bool = False
    text: bool = False
    hosting: Hosting | None = None
    own_thread: bool | None = None
    permission: Permission | None = None
    subprotocol: str | None = None
    stateful: bool = False

    def __post_init__(self) -> None:
        _check_target(self.target)
        if self.hosting is not None and self.hosting not in get_args(Hosting):
            choices = ", ".join(map(repr, get_args(Hosting)))
            raise ConfigurationError(
                f"Stream(hosting={self.hosting!r}) is none of {choices} and None."
            )
        if not (
            self.permission is None or isinstance(self.permission, str) or callable(self.permission)
        ):
            raise ConfigurationError(
                f"Stream(permission={self.permission!r}) is neither the name of a permission, "
                "nor a callable, nor None."
            )
        if self.subprotocol is not None and not _is_token(self.subprotocol):
            raise ConfigurationError(
                f"Stream(subprotocol={self.subprotocol!r}) is neither the name of a subprotocol, "
                "such as 'graphql-transport-ws', nor None."
            )

    def application(self) -> ASGIApplication:
        """Return the ASGI application behind the stream; import it if it is a dotted path.

        Returns:
            An ASGI 3 application; for a consumer class, what its ``as_asgi()`` gives.

        Raises:
            ConfigurationError: The dotted path cannot be imported, or leads to something else.
        """
        target: Any = self.target
        if isinstance(target, str):
            target = _import(target, "consumer_classes")
            if isinstance(target, str) or not _is_application(target):
                raise ConfigurationError(
                    f"{self.target!r} leads to {target!r}. Make it the path of a consumer class "
                    "or of an ASGI application."
                )
        is_class = isinstance(target, type)
        application: ASGIApplication = target.as_asgi() if is_class else target
        return application


#: The streams of a demultiplexer by name.
StreamTable = Mapping[str, Stream]


def new_stream_table(
    consumer_classes: Mapping[str, Stream | Target], owner: str = "The demultiplexer"
) -> StreamTable:
    """Check the ``consumer_classes`` of a demultiplexer.

    Args:
        consumer_classes: Stream names, and for each a `Stream` or what a `Stream` may lead to.
        owner: The demultiplexer's name, for messages.

    Returns:
        The streams, which cannot be changed.

    Raises:
        ConfigurationError: A name or an entry is none that a stream can have.
    """
    if not isinstance(consumer_classes, Mapping):
        raise ConfigurationError(
            f"{owner}: consumer_classes is {consumer_classes!r}. Make it a dictionary of "
            "stream names and consumer classes."
        )
    return MappingProxyType(
        {
            _check_name(name, owner): _stream(name, entry, owner)
            for name, entry in consumer_classes.items()
        }
    )


def _check_name(name: object, owner: str) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(
            f"{owner}: the stream name {name!r} is not a non-empty string. Rename it in "
            "consumer_classes."
        )
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{owner}: the stream name {name!r} has a lone surrogate, which no client can send. "
            "Rename it in consumer_classes."
        ) from None
    if size > MAX_STREAM_NAME:
        raise ConfigurationError(
            f"{owner}: the stream name {name!r} has {size} bytes in UTF-8. Shorten it to "
            f"{MAX_STREAM_NAME}."
        )
    return name


def _stream(name: str, entry: Stream | Target, owner: str) -> Stream:
    if isinstance(entry, Stream):
        return entry
    try:
        return Stream(entry)
    except ConfigurationError as error:
        raise ConfigurationError(f"{owner}: stream {name!r}: {error}") from None


def _check_target(target: object) -> None:
    if isinstance(target, str):
        parts = target.split(".")
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            raise ConfigurationError(
                f"{target!r} is not a dotted path. Write it as 'package.module.Name'."
            )
    elif not _is_application(target):
        raise ConfigurationError(
            f"{target!r} is neither a consumer class, nor an ASGI application, nor a dotted path "
            "to either."
        )


def _is_token(name: object) -> bool:
    return isinstance(name, str) and _TOKEN.fullmatch(name) is not None


def _is_application(target: object) -> bool:
    # A class is callable, but calling it would make an object and not serve a connection.
    return hasattr(target, "as_asgi") if isinstance(target, type) else callable(target)


def load_middleware(middleware: Middleware | str) -> Middleware:
    """Return middleware; import it if it is a dotted path.

    Args:
        middleware: The ``worker_middleware`` of a demultiplexer.

    Raises:
        ConfigurationError: It is no callable, or the path of none.
    """
    found: Any = (
        _import(middleware, "worker_middleware") if isinstance(middleware, str) else middleware
    )
    if not callable(found):
        raise ConfigurationError(
            f"worker_middleware is {middleware!r}. Make it a callable that takes an ASGI "
            "application and returns one, or the dotted path of such a callable."
        )
    return found  # type: ignore[no-any-return]


def _import(path: str, place: str) -> object:
    module_path, _, name = path.rpartition(".")
    try:
        module = import_module(module_path)
    except Exception as error:  # importing runs the user's module, which may raise anything
        raise ConfigurationError(
            f"{path!r} cannot be imported: {type(error).__name__}: {error}. Correct the path in "
            f"{place}, or the module."
        ) from error
    try:
        return getattr(module, name)
    except AttributeError:
        raise ConfigurationError(
            f"{path!r} cannot be imported: the module {module_path!r} has no {name!r}. Correct "
            f"the path in {place}, or the module."
        ) from None
