"""Tools for testing a demultiplexer: a client that speaks envelopes, and workers in the test.

A test of the whole path, from the client through the channel layer to the consumer and back::

    from channels_demux_layer.testing import DemuxCommunicator, run_workers

    async def test_chat():
        async with run_workers(Demultiplexer):
            async with DemuxCommunicator(Demultiplexer.as_asgi(), "/ws/") as client:
                await client.send_to("chat", {"text": "hello"})
                assert await client.receive_from("chat") == {"text": "hello"}

Without `run_workers`, and with the in-memory channel layer or none, the same test runs all
consumers inline. Tests are coroutines: run them with pytest-asyncio, or as methods of Django's
``TransactionTestCase``.
"""

from .communicator import DemuxCommunicator
from .workers import run_workers

__all__ = ["DemuxCommunicator", "run_workers"]
