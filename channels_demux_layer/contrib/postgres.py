"""A channel layer in PostgreSQL for many workers, based on channels_postgres (extra ``postgres``).

It keeps the configuration, tables and encryption of channels_postgres, and replaces the transport.
There, only one process receives the messages of a normal channel such as ``demux.echo``, and no
other takes over when it ends. A new process takes messages that wait for other processes. A process
whose connection was lost receives nothing more. Here:

- A short message to a channel of one process, or to a group, is the payload of a NOTIFY and leaves
  no row. A longer one is a row until its receiver fetches it.
- A message to a normal channel is a row. NOTIFY wakes all listening processes, and one of them
  fetches the row.
- If the connection is lost, :meth:`PostgresChannelLayer.receive` raises. The next call connects
  again.
"""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import psycopg
from channels.layers import BaseChannelLayer
from channels_postgres import core
from psycopg_pool import AsyncConnectionPool

__all__ = ["PostgresChannelLayer"]

#: The LISTEN and NOTIFY channel of the triggers of channels_postgres.
TOPIC = "channels_postgres_messages"
#: The largest message that fits into a NOTIFY, in bytes before base64. PostgreSQL limits its
#: payload to 7999 bytes; 150 of them are for the longest channel name and the expiry time.
SHORT = (7999 - 150) // 4 * 3
#: The length of the name columns in the tables of channels_postgres.
MAX_KEY = 100
#: Defaults for ``CONFIG``. Django raises KeyError for a missing key, and Channels would then report
#: that the layer is not configured.
DEFAULTS = {**dict.fromkeys(("USER", "PASSWORD", "HOST", "PORT"), ""), "TIME_ZONE": None}
#: The default number of connections, not counting the one that listens.
CONNECTIONS = 4
#: How long a call waits for a connection, and how long the pool tries to open one, in seconds. Both
#: are short because callers retry, and sooner than the pool, whose pauses grow.
WAIT_LIMIT, RECONNECT_LIMIT = 5.0, 1.0
#: The membership time if ``group_expiry`` is 0, in seconds: a century.
FOR_EVER = 100 * 365 * 86_400
#: The interval at which expired rows are deleted, in seconds.
SWEEP_INTERVAL = 60.0
#: With these options of libpq, TCP detects a server that vanished silently after a minute.
KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}

NOTIFY = "SELECT pg_notify(%s, '0:' || %s || ':' || %s || ':' || %s)"
NOTIFY_GROUP = (
    "SELECT pg_notify(%s, '0:' || channel || ':' || %s || ':' || %s) FROM"
    " (SELECT DISTINCT channel FROM channels_postgres_groupchannel"
    " WHERE group_key = %s AND expire > now()) AS members"
)
STORE = (
    "INSERT INTO channels_postgres_message (channel, message, expire)"
    " VALUES (%s, %s, now() + %s * interval '1 second')"
)
STORE_GROUP = (
    "INSERT INTO channels_postgres_message (channel, message, expire)"
    " SELECT DISTINCT channel, %s::bytea, now() + %s * interval '1 second'"
    " FROM channels_postgres_groupchannel WHERE group_key = %s AND expire > now()"
)
FETCH = "DELETE FROM channels_postgres_message WHERE id = %s AND expire > now() RETURNING message"
FETCH_NEXT = (
    "DELETE FROM channels_postgres_message WHERE id = ("
    "SELECT id FROM channels_postgres_message WHERE channel = %s AND expire > now()"
    " ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING message"
)
# Delete the old row first, so that a channel that joins again is a member only once.
JOIN = (
    "WITH before AS (DELETE FROM channels_postgres_groupchannel"
    " WHERE group_key = %s AND channel = %s)"
    " INSERT INTO channels_postgres_groupchannel (group_key, channel, expire)"
    " VALUES (%s, %s, now() + %s * interval '1 second')"
)
LEAVE = "DELETE FROM channels_postgres_groupchannel WHERE group_key = %s AND channel = %s"
SWEEP = (
    "WITH members AS (DELETE FROM channels_postgres_groupchannel WHERE expire < now())"
    " DELETE FROM channels_postgres_message WHERE expire < now()"
)


class PostgresChannelLayer(core.PostgresChannelLayer):
    """A channel layer in PostgreSQL. Any number of workers can receive from one channel.

    Args:
        group_expiry: How long a channel stays in a group without joining again, in seconds; 0 for
            no limit.
        **config: The configuration of channels_postgres' layer. Of ``PSYCOPG_OPTIONS``, only
            ``max_size`` is used: the number of connections of a process, not counting the one that
            listens.
    """

    def __init__(self, group_expiry: int = 86_400, **config: Any) -> None:
        super().__init__(group_expiry=group_expiry, **{**DEFAULTS, **config})
        self._size: int = config.get("PSYCOPG_OPTIONS", {}).get("max_size", CONNECTIONS)
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] | None = None
        self._pool_loop: asyncio.AbstractEventLoop | None = None
        # A channel of this process has its messages here. A normal channel has at most one item,
        # which means that its table may have messages. An exception means a lost connection.
        self._queues: dict[str, asyncio.Queue[str | Exception]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._listens: asyncio.Future[None]
        self._sweep_at = 0.0

    # -- messages -----------------------------------------------------------------------------

    # Channels 4.3 renamed both methods, and deprecates the old names.
    _check_channel: Any = getattr(
        BaseChannelLayer, "require_valid_channel_name", BaseChannelLayer.valid_channel_name
    )
    _check_group: Any = getattr(
        BaseChannelLayer, "require_valid_group_name", BaseChannelLayer.valid_group_name
    )

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel.

        Args:
            channel: A normal channel, or a channel of one process.
            message: The message.

        Raises:
            TypeError: The channel's name is invalid.
            psycopg.Error: The message cannot be sent.
        """
        self._check_channel(channel)
        data = self.serialize(message)
        if "!" in channel and len(data) <= SHORT:
            await self._run(NOTIFY, (TOPIC, channel, *self._inline(data)))
        else:
            await self._run(STORE, (channel, data, self.expiry))
            await self._sweep()

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to all members of a group.

        Args:
            group: The group.
            message: The message.

        Raises:
            TypeError: The group's name is invalid.
            psycopg.Error: The message cannot be sent.
        """
        self._check_group(group)
        data = self.serialize(message)
        key = self._group_key(group)
        if len(data) <= SHORT:
            await self._run(NOTIFY_GROUP, (TOPIC, *self._inline(data), key))
        else:
            await self._run(STORE_GROUP, (data, self.expiry, key))
            await self._sweep()

    def _inline(self, data: bytes) -> tuple[str, str]:
        return base64.b64encode(data).decode("ascii"), str(time.time() + self.expiry)

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return a new channel of this process. From now on, its messages are queued.

        Args:
            prefix: The beginning of its name.

        Raises:
            psycopg.Error: The server cannot be reached.
        """
        channel = f"{prefix}.{self.client_prefix}!{uuid.uuid4().hex}"
        self._queues[channel] = asyncio.Queue()
        try:
            await self._listen()
        except BaseException:
            del self._queues[channel]
            raise
        return channel

    async def receive(self, channel: str) -> dict[str, Any]:
        """Return the next message of a channel.

        If the call is cancelled, a channel of this process is deleted with its messages.

        Args:
            channel: The channel.

        Returns:
            The message.

        Raises:
            TypeError: The channel's name is invalid.
            psycopg.Error: The server cannot be reached, or the connection was lost.
        """
        self._check_channel(channel)
        queue = self._queues.setdefault(channel, asyncio.Queue())
        is_own = "!" in channel
        try:
            await self._listen()
            data = await (self._next_own(queue) if is_own else self._next(channel, queue))
        except asyncio.CancelledError:
            if is_own:
                self._queues.pop(channel, None)
            raise
        message: dict[str, Any] = self.deserialize(data)
        return message

    async def _next_own(self, queue: asyncio.Queue[str | Exception]) -> bytes:
        while True:
            key, _, *inline = (await _take(queue)).split(":")
            if not inline:
                rows = await self._run(FETCH, (int(key),))
                if rows:  # otherwise the message has expired
                    return bytes(rows[0][0])
            elif float(inline[1]) >= time.time():
                return base64.b64decode(inline[0])

    async def _next(self, channel: str, queue: asyncio.Queue[str | Exception]) -> bytes:
        while True:
            if not queue.empty():
                await _take(queue)
            rows = await self._run(FETCH_NEXT, (channel,))
            if rows:
                # Wake another receiver of this process: the table may have more messages.
                self._deliver(channel, "")
                return bytes(rows[0][0])
            await _take(queue)
            self._deliver(channel, "")

    # -- groups -------------------------------------------------------------------------------

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group, or renew its membership.

        Args:
            group: The group.
            channel: The channel.

        Raises:
            TypeError: The name of the group or of the channel is invalid.
            psycopg.Error: The channel cannot be added.
        """
        self._check_group(group)
        self._check_channel(channel)
        member = (self._group_key(group), channel)
        await self._run(JOIN, (*member, *member, self.group_expiry or FOR_EVER))
        await self._sweep()

    async def group_discard(self, group: str, channel: str, expire: int | None = None) -> None:
        """Remove a channel from a group, if it is a member.

        Args:
            group: The group.
            channel: The channel.
            expire: Not used.

        Raises:
            TypeError: The name of the group or of the channel is invalid.
            psycopg.Error: The channel cannot be removed.
        """
        self._check_group(group)
        self._check_channel(channel)
        await self._run(LEAVE, (self._group_key(group), channel))

    def _group_key(self, group: str) -> str:
        key = f"{self.prefix}:group:{group}"
        if len(key) <= MAX_KEY:
            return key
        digest = blake2b(key.encode(), digest_size=16).hexdigest()
        return f"{key[: MAX_KEY - len(digest) - 1]}:{digest}"

    # -- the listener -------------------------------------------------------------------------

    async def _listen(self) -> None:
        listener = self._listener
        if listener is None or listener.done() or listener.get_loop().is_closed():
            self._listens = asyncio.get_running_loop().create_future()
            self._listener = asyncio.ensure_future(self._listen_on(self._listens))
        await asyncio.shield(self._listens)

    async def _listen_on(self, listens: asyncio.Future[None]) -> None:
        try:
            async with await psycopg.AsyncConnection.connect(**self._options) as connection:
                await connection.execute(f"LISTEN {TOPIC}")
                listens.set_result(None)
                async for event in connection.notifies():
                    self._deliver(event.payload.split(":", 2)[1], event.payload)
        except Exception as error:
            if not listens.done():
                listens.set_exception(error)
                listens.exception()  # Mark it as retrieved: its waiters may have been cancelled.
                return
            await (await self._opened()).check()
            for queue in self._queues.values():
                queue.put_nowait(error)

    def _deliver(self, channel: str, payload: str) -> None:
        queue = self._queues.get(channel)
        if queue is not None and ("!" in channel or queue.empty()):
            queue.put_nowait(payload)

    # -- the server ---------------------------------------------------------------------------

    @property
    def _options(self) -> dict[str, Any]:
        return {**KEEPALIVE, **self.db_params, "autocommit": True}

    async def _opened(self) -> AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
        loop = asyncio.get_running_loop()
        if self._pool is None or self._pool_loop is not loop:
            self._pool_loop = loop
            self._pool = AsyncConnectionPool(
                kwargs=self._options,
                min_size=0,
                max_size=self._size,
                open=False,
                timeout=WAIT_LIMIT,
                reconnect_timeout=RECONNECT_LIMIT,
            )
        if self._pool.closed:
            await self._pool.open()
        return self._pool

    async def _run(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        pool = await self._opened()
        try:
            async with pool.connection() as connection:
                cursor = await connection.execute(statement, values)
                return await cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError:
            # The other connections are probably broken as well: let the pool replace them.
            await pool.check()
            raise

    async def _sweep(self) -> None:
        now = time.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_INTERVAL
            await self._run(SWEEP, ())

    async def flush(self) -> None:
        """Delete all messages and groups.

        Raises:
            psycopg.Error: The server cannot be reached.
        """
        await self._run("TRUNCATE channels_postgres_message, channels_postgres_groupchannel", ())

    async def close_pools(self) -> None:
        """Close all connections; the next call opens new ones."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])
        if self._pool is not None:
            await self._pool.close()
            self._pool = None


async def _take(queue: asyncio.Queue[str | Exception]) -> str:
    item = await queue.get()
    if isinstance(item, Exception):
        raise item
    return item
