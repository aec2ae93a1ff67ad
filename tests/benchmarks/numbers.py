"""How the generator's frames are written and numbered, and what it makes of many values."""

from collections.abc import Sequence

#: Numbers that one stream of a socket may use; the stream's place times this is its first.
SPAN = 10**9

#: Where all numbers begin, so that all are written with as many digits.
BASE = 10**12


def template(stream: str | None, size: int) -> bytes:
    """Writes what is sent, with `%d` for the frame's number.

    Args:
        stream: The stream's name; None: the payload goes without an envelope.
        size: Bytes of the masked frame on the wire, its header included.

    Returns:
        The text of the frame: with and without an envelope it has the same length.
    """
    before = (
        '{"n":%d,"text":"'
        if stream is None
        else f'{{"stream":"{stream}","payload":{{"n":%d,"text":"'
    )
    after = '"}' if stream is None else '"}}'
    length = size - (6 if size < 132 else 8 if size < 65_544 else 14)
    room = length - len(before % BASE) - len(after)
    return f"{before}{'x' * max(0, room)}{after}".encode()


def quantile(ordered: Sequence[float], share: float) -> float:
    """Looks up a quantile.

    Args:
        ordered: Values in ascending order.
        share: Which quantile, from 0 to 1.

    Returns:
        The value; 0 when there is none.
    """
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
