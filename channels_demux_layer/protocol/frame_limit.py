"""How long a client's WebSocket frame may be: looked at before anything in it is (C2.6)."""

import re

from channels_demux_layer.codes import ErrorCode
from channels_demux_layer.exceptions import BadFrame

from .json_text import REFUSALS, decode_string, quote

__all__ = ["ENVELOPE_ROOM", "FrameLimit"]

#: How much longer than a payload a whole frame may be: room for the stream's name, the keys, white
#: space, and keys that the server ignores.
ENVELOPE_ROOM = 65_536
#: The longest start of a frame in which the stream's name is looked for, in characters: a name of
#: the greatest length has 255, each of which may be an escape of six.
_HEAD = 2_048


class FrameLimit:
    """Refuses frames that are longer than any envelope of a payload that is small enough.

    By their length alone. To parse 16 MiB of JSON takes the edge's event loop seconds, in which
    nobody else is served.

    Args:
        max_payload: The most bytes that a payload may have.
        stream_key: Key of the stream's name.

    Attributes:
        longest: The greatest length of a frame, in bytes, or in characters of text.
    """

    __slots__ = ("_head", "longest")

    def __init__(self, max_payload: int, stream_key: str) -> None:
        self.longest = max_payload + ENVELOPE_ROOM
        key = re.escape(quote(stream_key))
        self._head = re.compile(rf'\s*{{\s*{key}\s*:\s*("(?:[^"\\]|\\.)*")')

    def check(self, frame: str | bytes) -> None:
        """Refuse a frame that is too long.

        Args:
            frame: A text frame, or a binary one.

        Raises:
            BadFrame: It is too long. The stream is named where the frame begins with its name.
        """
        if len(frame) > self.longest:
            problem = f"The frame's length is {len(frame)}, and {self.longest} are allowed."
            text = f"{problem} Send the payload in parts."
            raise BadFrame(ErrorCode.TOO_LARGE, text, self._stream_of(frame))

    def _stream_of(self, frame: str | bytes) -> str | None:
        try:
            if isinstance(frame, bytes):
                return str(frame[1 : 1 + frame[0]], "utf-8") or None
            found = self._head.match(frame[:_HEAD])
            return found and decode_string(found[1])
        except REFUSALS:
            return None
