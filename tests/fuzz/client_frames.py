"""Fuzzes the client wire: frames of whatever content, through a whole connection."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["channels_demux_layer"]):
    from . import setup  # noqa: F401 - Django, before what needs it
    from .drivers import converse, no_traceback

loop = asyncio.new_event_loop()


STREAMS = ("s", "lazy", "text", "no", "")


def read_frame(provider: Any) -> str | bytes:
    """Read an envelope with anything for its payload, an event, a binary frame, or anything."""
    kind = provider.ConsumeIntInRange(0, 4)
    stream = provider.PickValueInList(list(STREAMS))
    content = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 400))
    text = content.decode("utf-8", "ignore")
    if kind == 0:
        return content
    if kind == 1:
        return text
    if kind == 2:
        return f'{{"stream": "{stream}", "payload": {text}}}'
    if kind == 3:
        event = provider.PickValueInList(["open", "close", text])
        return f'{{"stream": "{stream}", "event": "{event}"}}'
    return bytes([len(stream)]) + stream.encode() + content


def test_one_input(data: bytes) -> None:
    """Send up to eight frames, text or binary, on one connection."""
    provider = atheris.FuzzedDataProvider(data)
    frames: list[str | bytes] = []
    while provider.remaining_bytes() and len(frames) < 8:
        frames.append(read_frame(provider))
    with no_traceback():
        loop.run_until_complete(converse(frames))


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
