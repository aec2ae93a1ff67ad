"""The nodes of a process: one for each event loop and channel layer."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from channels.layers import InMemoryChannelLayer, get_channel_layer

from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.logs import layer_faults

from .node import Node
from .steadfast import SteadfastLayer, inner_of, steadfast_layer
from .watchdog import Watchdog
from .wire import link_config

__all__ = [
    "all_nodes",
    "find_node",
    "find_steadfast_layer",
    "get_node",
    "running_nodes",
    "stop_nodes",
]

START = "join the channel layer"

_nodes: dict[asyncio.AbstractEventLoop, dict[str, Node]] = {}
_steadfast: WeakKeyDictionary[Node, SteadfastLayer] = WeakKeyDictionary()


def find_node(alias: str) -> Node:
    """Return this event loop's node on a channel layer. A node can publish before it is started.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.

    Returns:
        The node. It is the same one for a loop, an alias and a layer.

    Raises:
        ConfigurationError: There is no such layer.
    """
    layer = get_channel_layer(alias)
    if layer is None:
        raise ConfigurationError(
            f"CHANNEL_LAYERS has no {alias!r}: streams hosted by workers need a channel layer. "
            "Configure one, or set HOSTING to 'inline'."
        )
    loop = asyncio.get_running_loop()
    if loop not in _nodes:
        for other in [other for other in _nodes if other.is_closed()]:
            del _nodes[other]
    nodes = _nodes.setdefault(loop, {})
    node = nodes.get(alias)
    if node is None or node.layer is not inner_of(layer):
        node = nodes[alias] = Node(inner_of(layer), link_config(), alias)
    return node


def find_steadfast_layer(alias: str) -> Any:
    """Return a steadfast layer in front of a project's layer; the node rejoins its groups.

    The project's layer stays as it is: only the caller gets the steadfast one.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.

    Returns:
        The steadfast layer, always the same one for a node; or what `steadfast_layer()` returns.

    Raises:
        ConfigurationError: There is no such layer.
    """
    node = find_node(alias)
    layer = _steadfast.get(node)
    if layer is None:
        # Before the process's first session the node is not started, and would rejoin nothing.
        layer = steadfast_layer(alias, node.layer, rejoins=True)
        if isinstance(layer, SteadfastLayer):
            node.memories.append(layer.unsteady)
            _steadfast[node] = layer
    return layer


async def get_node(alias: str) -> Node:
    """Return this event loop's node on a channel layer, started.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.

    Returns:
        The node.

    Raises:
        ConfigurationError: There is no such layer.
        Exception: Whatever the channel layer raises when it cannot be reached.
    """
    node = find_node(alias)
    try:
        await node.start()
    except Exception as error:
        layer_faults.failed(START, error, alias=alias)
        raise
    layer_faults.worked(START, alias=alias)
    watch(node, alias)
    return node


def watch(node: Node, alias: str) -> None:
    """Start the watchdog that sends heartbeats while the node's event loop is blocked.

    Args:
        node: The node.
        alias: The name of its layer in CHANNEL_LAYERS.
    """
    # In memory there are no other processes that could time out.
    if node.watchdog is None and not isinstance(node.layer, InMemoryChannelLayer):
        node.watchdog = Watchdog(node, alias)
        node.watchdog.start()


def running_nodes() -> list[Node]:
    """Return all nodes of this event loop."""
    return list(_nodes.get(asyncio.get_running_loop(), {}).values())


def all_nodes() -> list[Node]:
    """Return the nodes of all event loops of this process. Thread-safe."""
    return [node for nodes in list(_nodes.values()) for node in list(nodes.values())]


async def stop_nodes() -> None:
    """Stop all nodes of this event loop, and forget them."""
    for node in _nodes.pop(asyncio.get_running_loop(), {}).values():
        if node.watchdog is not None:
            node.watchdog.stop()
        await node.stop()
