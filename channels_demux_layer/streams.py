"""The entries of ``consumer_classes``, and their validation."""

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import KW_ONLY, dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal, get_args

from .exceptions import ConfigurationError
from .protocol.envelope_format import MAX_STREAM_NAME

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
#: The application behind a stream: a consumer class, an ASGI application, or a dotted path to one.
Target = type[Any] | ASGIApplication | str
#: Who may open a stream: the name of a Django permission, or a function of the scope.
Permission = str | Callable[[dict[str, Any]], bool | Awaitable[bool]]


#: The name of a subprotocol by RFC 6455 (4.1): an HTTP token.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass(frozen=True)
class Stream:
    """One entry of ``consumer_classes``, with its options.

    Attributes:
        target: A consumer class, an ASGI application, or a dotted path to either. Only processes
            that host the stream import a dotted path.
        lazy: Whether the stream opens with its first frame instead of with the connection.
        text: Whether payloads are strings, which the consumer receives and sends without JSON.
        hosting: Where the consumers run; None for the ``HOSTING`` setting.
        own_thread: True gives each session's synchronous code a thread of its own. False runs it
            in asgiref's one thread. None has sessions of synchronous consumers share SYNC_THREADS.
        permission: Who may open the stream; None for everybody. A callable receives the scope and
            returns a bool or an awaitable of one. A string is the name of a Django permission,
            such as ``"market.view_price"``, which the scope's user must have.
        subprotocol: The only subprotocol in the consumer's scope, for consumers that need this
            one; None for the subprotocols that the client offers for its socket.
        stateful: Whether the consumer keeps state from its client that a new consumer would lack.
            When its worker drains or is lost, such a stream ends with 1012 and the client must
            open it again. Other streams continue with a new consumer.
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
                f"Stream(hosting={self.hosting!r}) is invalid. Use one of {choices}, or None."
            )
        if not (
            self.permission is None or isinstance(self.permission, str) or callable(self.permission)
        ):
            raise ConfigurationError(
                f"Stream(permission={self.permission!r}) is invalid. Use the name of a permission, "
                "a callable, or None."
            )
        if self.subprotocol is not None and not _is_token(self.subprotocol):
            raise ConfigurationError(
                f"Stream(subprotocol={self.subprotocol!r}) is invalid. Use the name of a "
                "subprotocol, such as 'graphql-transport-ws', or None."
            )

    def application(self) -> ASGIApplication:
        """Return the ASGI application behind the stream, and import a dotted path.

        Returns:
            An ASGI 3 application; for a consumer class, the result of its ``as_asgi()``.

        Raises:
            ConfigurationError: The dotted path cannot be imported, or names something else.
        """
        target: Any = self.target
        if isinstance(target, str):
            target = _import(target, "consumer_classes")
            if isinstance(target, str) or not _is_application(target):
                raise ConfigurationError(
                    f"{self.target!r} is the path of {target!r}. Use the path of a consumer class "
                    "or of an ASGI application."
                )
        is_class = isinstance(target, type)
        application: ASGIApplication = target.as_asgi() if is_class else target
        return application


#: The streams of a demultiplexer, by name.
StreamTable = Mapping[str, Stream]


def new_stream_table(
    consumer_classes: Mapping[str, Stream | Target], owner: str = "The demultiplexer"
) -> StreamTable:
    """Validate the ``consumer_classes`` of a demultiplexer.

    Args:
        consumer_classes: For each stream name, a `Stream` or the target of one.
        owner: The demultiplexer's name, for error messages.

    Returns:
        The streams, as a read-only mapping.

    Raises:
        ConfigurationError: A name or an entry is invalid.
    """
    if not isinstance(consumer_classes, Mapping):
        raise ConfigurationError(
            f"{owner}: consumer_classes is {consumer_classes!r}. Use a dictionary of "
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
            f"{owner}: the stream name {name!r} contains a lone surrogate, which no client can "
            "send. Rename it in consumer_classes."
        ) from None
    if size > MAX_STREAM_NAME:
        raise ConfigurationError(
            f"{owner}: the stream name {name!r} has {size} bytes in UTF-8. Shorten it to "
            f"{MAX_STREAM_NAME}."
        )
    return str.__str__(name)  # A member of a str enum is formatted as something else.


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
    # A class is callable, too, but calling it returns an instance and serves no connection.
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
    except Exception as error:  # the user's module may raise anything
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
