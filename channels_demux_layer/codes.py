"""Close codes, error codes and event names of the client wire.

They are part of the public wire format, so a released one is never renamed.
"""

from enum import Enum, IntEnum

__all__ = ["ClientEvent", "CloseCode", "ErrorCode", "ServerEvent"]


class _Word(str, Enum):
    """An enumeration of strings. Each member is equal to its text."""

    # Python 3.10 and 3.12 format members differently. With this, both use the text.
    __str__ = str.__str__


class CloseCode(IntEnum):
    """Codes that end a stream or a connection (RFC 6455, section 7.4, and its registry).

    A consumer may close with any other code. These are the ones that the package uses.
    """

    #: The stream was closed on purpose.
    NORMAL = 1000
    #: The server shuts down, or the client leaves.
    GOING_AWAY = 1001
    #: The connection was lost without a close.
    ABNORMAL = 1006
    #: A frame was larger than the server accepts.
    TOO_BIG = 1009
    #: The consumer raised an exception.
    INTERNAL_ERROR = 1011
    #: The server restarts. The client may reconnect at once.
    SERVICE_RESTART = 1012
    #: The server is at a limit. The client may retry later.
    TRY_AGAIN_LATER = 1013
    #: The client lacks the stream's permission. This code and those below are from the private
    #: range; their last three digits are the HTTP status.
    NOT_PERMITTED = 4403
    #: One side took nothing for STALL_TIMEOUT.
    STALLED = 4408
    #: MAX_DELIVERIES workers that hosted the stream died, one after the other.
    UNPROCESSABLE = 4422
    #: The client kept sending opens that its limits refuse.
    TOO_MANY_REQUESTS = 4429


class ErrorCode(_Word):
    """The ``code`` of an ``error`` event: what was wrong with a client's frame."""

    #: The text is not JSON by RFC 8259. NaN and lone surrogates are invalid, too.
    INVALID_JSON = "invalid_json"
    #: The envelope is nested too deeply.
    TOO_DEEP = "too_deep"
    #: The text is JSON, but not an object.
    NOT_AN_OBJECT = "not_an_object"
    #: The envelope has a duplicate key.
    DUPLICATE_KEY = "duplicate_key"
    #: The envelope lacks the stream's name, or has neither payload nor event.
    MISSING_KEY = "missing_key"
    #: The stream's name or the event is not a string.
    WRONG_TYPE = "wrong_type"
    #: The event is not one that a client may send.
    UNKNOWN_EVENT = "unknown_event"
    #: The binary frame does not start with a stream's name.
    INVALID_BINARY = "invalid_binary"
    #: The payload for a stream of plain text (``text=True``) is not a string.
    NOT_A_STRING = "not_a_string"
    #: The connection has no stream of this name.
    UNKNOWN_STREAM = "unknown_stream"
    #: The payload is larger than MAX_PAYLOAD.
    TOO_LARGE = "too_large"
    #: The stream is closed. The client must open it first.
    STREAM_CLOSED = "stream_closed"
    #: The client lacks the stream's permission.
    NOT_PERMITTED = "not_permitted"
    #: The connection already has MAX_OPEN_STREAMS open streams.
    TOO_MANY_STREAMS = "too_many_streams"
    #: The client has sent OPENS_PER_MINUTE opens.
    TOO_MANY_OPENS = "too_many_opens"


class ServerEvent(_Word):
    """The ``event`` of an envelope that the server sends."""

    #: The stream has ended. Fields: ``code`` and ``reason``.
    CLOSED = "closed"
    #: The stream continues with a new consumer.
    REOPENED = "reopened"
    #: No worker hosts the stream at present, or its consumer has not accepted.
    UNAVAILABLE = "unavailable"
    #: A frame was refused. Fields: ``code`` (an `ErrorCode`) and ``message``.
    ERROR = "error"


class ClientEvent(_Word):
    """The ``event`` of an envelope that a client sends."""

    #: Open a lazy stream, or one that has closed.
    OPEN = "open"
    #: Close one stream. The others stay open.
    CLOSE = "close"


#: The keys of events that no setting changes.
EVENT_FIELDS = frozenset({"code", "reason", "message"})
