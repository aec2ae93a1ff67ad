"""The least that a server can do: an echo without Channels and Django."""

from typing import Any


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Echoes texts."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
