"""What a node and a Redis server say to each other, whatever moves the bytes."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from redis.exceptions import ConnectionError as RedisConnectionError

from channels_demux_layer.layer.pubsub import PubSubInbox, PubSubPublisher
from tests.integration.harness import until, within
from tests.unit.layer.redis.server import ScriptedServer, running_server

SIZES = [0, 100, 40_000, 1_000_000]


async def talk(server: ScriptedServer, **options: Any) -> None:
    """Have a node publish to itself, lose its connections, and do so again."""
    layer = RedisPubSubChannelLayer(hosts=[server.host(**options)])
    inbox, publisher = PubSubInbox(layer), PubSubPublisher(layer)
    channel = await within(inbox.new_channel())
    for _ in range(2):
        messages = [{"type": "x", "data": b"\xc4" * size} for size in SIZES]
        await within(asyncio.gather(*[publisher.send(channel, each) for each in messages]))
        assert [await within(inbox.receive(channel)) for _ in messages] == messages
        number = len(server.ends)
        for end in server.ends:
            end.drop()
        with pytest.raises(RedisConnectionError):
            await within(inbox.receive(channel))
        receiving = asyncio.ensure_future(inbox.receive(channel))
        await until(lambda start=number: any(end.names for end in server.ends[start:]))
        await within(publisher.send(channel, {"type": "again"}))
        assert await within(receiving) == {"type": "again"}
    await layer.flush()


async def serve_and_talk() -> None:
    """Talk to a server that runs on the same event loop."""
    async with running_server() as server:
        await talk(server)


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_each_event_loop_moves_the_bytes(kind: str) -> None:
    """That of Python, and the one that servers prefer."""
    module = pytest.importorskip(kind)
    loop = module.new_event_loop()
    try:
        loop.run_until_complete(serve_and_talk())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server encrypts with, and the file by which it is known."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    own = tmp_path / "own.pem"
    own.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(encoding)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    known = tmp_path / "known.pem"
    known.write_bytes(certificate.public_bytes(encoding))
    return context, known


async def test_what_is_encrypted_is_understood(
    contexts: tuple[ssl.SSLContext, Path], all_is_handled: None
) -> None:
    """The layer's pool makes the connection, and so it is encrypted as the layer's own."""
    context, known = contexts
    async with running_server(context) as server:
        address = f"rediss://localhost:{server.port}"
        await talk(server, address=address, ssl_ca_certs=str(known))
