"""The numbers and words that clients see: close codes, error codes and event names.

All of them are part of the public wire format: one that has been released is never renamed.
"""

from enum import Enum, IntEnum

__all__ = ["EVENT_FIELDS", "ClientEvent", "CloseCode", "ErrorCode", "ServerEvent"]


class _Word(str, Enum):
    """A closed list of words, each equal to its own text."""

    # Python 3.10 and 3.12 differ in how they format a member; with this they agree on its text.
    __str__ = str.__str__


class CloseCode(IntEnum):
    """Codes that end a stream or a connection (RFC 6455, section 7.4, and its registry).

    A consumer may close with any code of its own; these are the ones that the package uses.
    """

    #: The stream was closed on purpose.
    NORMAL = 1000
    #: The server or the page goes away.
    GOING_AWAY = 1001
    #: The other side vanished without closing.
    ABNORMAL = 1006
    #: A frame was larger than the server takes.
    TOO_BIG = 1009
    #: The consumer raised an exception.
    INTERNAL_ERROR = 1011
    #: The server restarts; the client may connect again at once.
    SERVICE_RESTART = 1012
    #: There is no room now; later there may be.
    TRY_AGAIN_LATER = 1013
    #: The stream's permission is not the client's. Private range; the last digits are HTTP's, here
    #: and below.
    NOT_PERMITTED = 4403
    #: One side took nothing for STALL_TIMEOUT.
    STALLED = 4408
    #: MAX_DELIVERIES workers have died of the stream, one after the other.
    UNPROCESSABLE = 4422
    #: The client went on asking for what its limits refuse.
    TOO_MANY_REQUESTS = 4429


class ErrorCode(_Word):
    """The ``code`` of an ``error`` event: what was wrong with a client's frame."""

    #: The text is not JSON as RFC 8259 has it (NaN and lone surrogates included).
    INVALID_JSON = "invalid_json"
    #: The envelope is nested too deeply.
    TOO_DEEP = "too_deep"
    #: The text is JSON, but not an object.
    NOT_AN_OBJECT = "not_an_object"
    #: A key stands twice in the envelope.
    DUPLICATE_KEY = "duplicate_key"
    #: The envelope lacks the stream's name, or has neither payload nor event.
    MISSING_KEY = "missing_key"
    #: The stream's name or the event is not a string.
    WRONG_TYPE = "wrong_type"
    #: The event is none that a client can send.
    UNKNOWN_EVENT = "unknown_event"
    #: The binary frame does not start with a stream's name.
    INVALID_BINARY = "invalid_binary"
    #: A stream of plain text (``text=True``) got a payload that is no string.
    NOT_A_STRING = "not_a_string"
    #: The connection has no stream of this name.
    UNKNOWN_STREAM = "unknown_stream"
    #: The payload is larger than MAX_PAYLOAD.
    TOO_LARGE = "too_large"
    #: The stream is closed and was not opened again.
    STREAM_CLOSED = "stream_closed"
    #: The stream's permission is not the client's.
    NOT_PERMITTED = "not_permitted"
    #: MAX_OPEN_STREAMS are open.
    TOO_MANY_STREAMS = "too_many_streams"
    #: OPENS_PER_MINUTE have been asked for.
    TOO_MANY_OPENS = "too_many_opens"


class ServerEvent(_Word):
    """The ``event`` of an envelope that the server sends."""

    #: The stream has ended; carries ``code`` and ``reason``.
    CLOSED = "closed"
    #: The stream goes on with a new consumer.
    REOPENED = "reopened"
    #: No worker takes the stream at present.
    UNAVAILABLE = "unavailable"
    #: A frame was refused; carries ``code`` (an `ErrorCode`) and ``message``.
    ERROR = "error"


class ClientEvent(_Word):
    """The ``event`` of an envelope that a client sends."""

    #: Open a lazy stream, or one that has closed.
    OPEN = "open"
    #: Close one stream; the others go on.
    CLOSE = "close"


#: Keys of events beside those that are configured.
EVENT_FIELDS = frozenset({"code", "reason", "message"})
