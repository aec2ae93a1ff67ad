"""Fuzzes the layer wire: messages of whatever content, into a node and a worker."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import atheris
import msgspec

with atheris.instrument_imports(include=["channels_demux_layer"]):
    from . import setup  # noqa: F401 - Django, before what needs it
    from .drivers import a_batch, an_open, feed, no_traceback

loop = asyncio.new_event_loop()
FIELDS = tuple(a_batch()) + tuple(an_open()) + ("refs", "load", "stream_channel")


def read_any(provider: Any) -> Any:
    """Read anything that a layer can carry."""
    data = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 60))
    try:
        return msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return data


def read_message(provider: Any) -> Any:
    """Read a batch or an open with a few fields replaced, or anything."""
    kind = provider.ConsumeIntInRange(0, 9)
    if kind == 0:
        return read_any(provider)
    if kind < 6:
        message = a_batch(
            seq=provider.ConsumeIntInRange(0, 70),
            link=str(provider.ConsumeIntInRange(0, 2)),
            frames=provider.ConsumeBytes(provider.ConsumeIntInRange(0, 120)),
            to_edge=provider.ConsumeIntInRange(0, 9) == 0,
            ack=provider.ConsumeIntInRange(0, 70),
        )
    elif kind < 9:
        ref = str(provider.ConsumeIntInRange(0, 3))
        message = an_open(ref=ref, scope=provider.ConsumeBytes(provider.ConsumeIntInRange(0, 120)))
    else:
        message = {"type": "demux.claim", "version": 1, "refs": [], "load": 0, "channel": "x"}
    for _ in range(provider.ConsumeIntInRange(0, 2)):
        message[provider.PickValueInList(list(FIELDS))] = read_any(provider)
    return message


def test_one_input(data: bytes) -> None:
    """Give a node up to twelve messages."""
    provider = atheris.FuzzedDataProvider(data)
    messages: list[Any] = []
    while provider.remaining_bytes() and len(messages) < 12:
        messages.append(read_message(provider))
    with no_traceback():
        loop.run_until_complete(feed(messages))


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
