"""The exceptions of the package. The type shows who caused the error.

::

    DemuxError
     ├── ConfigurationError   the project: its settings, consumer_classes or names
     ├── BadFrame             the client: it sent a frame that is not an envelope
     ├── LayerFailed          the channel layer: a call failed
     ├── PayloadTooLarge      the consumer: it sent more than MAX_PAYLOAD (also a ValueError)
     ├── NotPortable          middleware: a scope value cannot be sent to a worker
     └── ClientError          raised by the Python client:
          ├── ConnectFailed   the server or the network: the WebSocket could not be opened
          └── StreamClosed    nobody: the stream has ended

Internal exceptions derive from DemuxError, too. Errors of a peer on the channel layer are events of
its link, never exceptions.
"""

from .codes import ErrorCode

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
    """The demultiplexer failed.

    The base class of all exceptions of the package. The message of an exception without arguments
    is the first line of its class's docstring.
    """

    def __str__(self) -> str:
        if self.args:
            return super().__str__()
        return (type(self).__doc__ or type(self).__name__).partition("\n")[0]


class ConfigurationError(DemuxError):
    """The demultiplexer is not configured correctly.

    Raised while the project starts. The message names the setting, the stream or the path, and
    says what to do.
    """


class LayerFailed(DemuxError):  # noqa: N818 - says what happened
    """The channel layer cannot be asked.

    Raised by `status.ask_nodes`. The message contains the layer's error.
    """


class BadFrame(DemuxError):  # noqa: N818 - named for what the client sent, and a public name
    """The client's frame is not an envelope.

    Attributes:
        code: The ``code`` of the ``error`` event, stable across releases.
        message: The event's ``message``. It tells the client's developer what to do.
        stream: The stream that the frame names; None if it could not be read.
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

    A consumer's ``send()`` raises it. Nothing was sent, and the stream stays open.

    Attributes:
        size: Size of the refused payload in bytes. Text counts in UTF-8.
        limit: The value of MAX_PAYLOAD in bytes.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"The payload has {self.size} bytes, but MAX_PAYLOAD is {self.limit}. Send it in "
            "parts, or raise CHANNELS_DEMUX_LAYER['MAX_PAYLOAD'] on the server and its workers."
        )


class NotPortable(DemuxError):  # noqa: N818 - says of a value what it is
    """The scope value cannot be sent to a worker.

    Attributes:
        path: The path of the value in the scope, for example ``url_route.kwargs.id``.
        problem: Why the value cannot be sent.
    """

    def __init__(self, path: str, problem: str = "it has no portable form") -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path} cannot be sent to a worker: {self.problem}."


class ClientError(DemuxError):
    """The Python client failed."""


class ConnectFailed(ClientError):  # noqa: N818 - says what has happened, as connect() says what is to
    """The WebSocket could not be opened.

    Its ``__cause__`` is the error of the `websockets` library or of the network.

    Attributes:
        problem: What went wrong. It omits the URL, which may contain a secret.
        status: The HTTP status of the server's response; None without a response.
        is_final: Whether a retry would fail the same way.
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
        code: The close code; 1000 for a normal end.
        reason: The close reason; empty if none was given.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"The stream has ended with code {self.code}{self.reason and f': {self.reason}'}."
