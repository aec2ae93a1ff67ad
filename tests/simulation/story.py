"""Tells the story of a run, for who looks for a fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from channels_demux_layer.protocol.frames import BATCH, decode_frames


def teller(name: str, now: Callable[[], float]) -> Callable[..., None]:
    """Return what tells of the calls that a process makes of the channel layer."""

    def tell(call: str, *what: Any) -> None:
        print(f"{now():9.4f} {name:8} {call:13}", *map(_show, what), flush=True)

    return tell


def _show(what: Any) -> str:
    if not isinstance(what, dict):
        return str(what)
    if what["type"] != BATCH:
        return str({key: value for key, value in what.items() if key != "scope"})
    marks = f"#{what['seq']} ack {what['ack']} early {what['early']} base {what['base']}"
    frames = ", ".join(map(repr, decode_frames(what["frames"]))) if what["frames"] else ""
    return f"{what['link'][:4]} {marks}{' again' * what['again']} [{frames}]"
