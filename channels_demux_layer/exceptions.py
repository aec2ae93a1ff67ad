"""Every exception of the package, with whose fault it is in its type.

::

    DemuxError
     ├── ConfigurationError   the project's: settings, consumer_classes, names
     ├── BadFrame             the client's: a frame that is no envelope
     ├── LayerFailed          the channel layer's: it could not be asked
     ├── PayloadTooLarge      the consumer's: it sent more than MAX_PAYLOAD (also a ValueError)
     ├── NotPortable          the middleware's: a scope value that cannot travel to a worker
     └── ClientError          what the Python client meets:
          ├── ConnectFailed   the server's or the network's: no WebSocket
          └── StreamClosed    nobody's: the stream has ended, and this is how

A peer's fault on the channel layer is an event of its link, never an exception.
"""

from channels_demux_layer.codes import ErrorCode

__all__ = [
    "BadFrame",
    "ClientError",
    "ConfigurationError",
    "ConnectFailed",
    "DemuxError",
    "LayerFailed",
    "NotPortable",
    "PayloadTooLarge",
    "StreamClosed",
]


class DemuxError(Exception):
    """The demultiplexer cannot go on.

    The root of all exceptions of the package. An exception without a message of its own says
    the first line of its class's docstring.
    """

    def __str__(self) -> str:
        if self.args:
            return super().__str__()
        return (type(self).__doc__ or type(self).__name__).partition("\n")[0]


class ConfigurationError(DemuxError):
    """The demultiplexer is not configured correctly.

    Raised while the project starts; the message names the setting, the stream or the path, and
    says what to do.
    """


class LayerFailed(DemuxError):  # noqa: N818 - says what happened
    """The channel layer cannot be asked.

    Raised to who asks the nodes for their status; the message says what the layer did.
    """


class BadFrame(DemuxError):  # noqa: N818 - named for what the client sent, and a public name
    """The client's frame is not an envelope.

    Attributes:
        code: What is wrong, stable across releases; the ``code`` of the ``error`` event.
        message: What the client's developer is to do about it; the event's ``message``.
        stream: The stream that the frame names, where that could be read.
    """

    def __init__(self, code: ErrorCode, message: str, stream: str | None = None) -> None:
        # All arguments go to the base, so that the exception can be copied and pickled.
        super().__init__(code, message, stream)
        self.code = code
        self.message = message
        self.stream = stream

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class PayloadTooLarge(DemuxError, ValueError):  # noqa: N818 - named like its error code
    """The payload is larger than MAX_PAYLOAD.

    Raised out of a consumer's ``send()``; nothing was sent and the stream goes on.

    Attributes:
        size: Size of the refused payload in bytes (of UTF-8, for text).
        limit: The value of MAX_PAYLOAD in bytes.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"The payload has {self.size} bytes, and MAX_PAYLOAD is {self.limit}. Send it in "
            "parts, or raise CHANNELS_DEMUX_LAYER['MAX_PAYLOAD'] on the server and its workers."
        )


class NotPortable(DemuxError):  # noqa: N818 - says of a value what it is
    """The scope value cannot travel to a worker.

    Attributes:
        path: Where the value stands, for example ``url_route.kwargs.id``.
        problem: Why it cannot travel.
    """

    def __init__(self, path: str, problem: str = "it has no portable form") -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path} cannot travel to a worker: {self.problem}."


class ClientError(DemuxError):
    """The Python client cannot go on."""


class ConnectFailed(ClientError):  # noqa: N818 - says what has happened, as connect() says what is to
    """The WebSocket could not be opened.

    Its ``__cause__`` is what the `websockets` library or the network has raised.

    Attributes:
        problem: What went wrong; without the URL, which may hold a secret.
        status: The HTTP status with which the server answered instead; None if it did not.
        is_final: Whether another try can only end the same way.
    """

    def __init__(self, problem: str, status: int | None = None, is_final: bool = False) -> None:
        super().__init__(problem, status, is_final)
        self.problem = problem
        self.status = status
        self.is_final = is_final

    def __str__(self) -> str:
        return f"The WebSocket could not be opened: {self.problem}."


class StreamClosed(ClientError):  # noqa: N818 - named like its event, and as websockets does
    """The stream has ended.

    Attributes:
        code: The close code, 1000 for an end on purpose.
        reason: The reason, empty where none was given.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"The stream has ended with code {self.code}{self.reason and f': {self.reason}'}."
