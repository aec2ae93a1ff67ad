"""What nodes say about themselves when they are asked (L7.5).

Reports grow: a reader takes a field that is missing for its default, and passes over one that it
does not know (L7.4). So a fleet of several releases can be asked by any of them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

__all__ = [
    "NODES",
    "OTHER_CODES",
    "PROBE",
    "REPORT",
    "REPORT_VERSION",
    "STATUS",
    "Answer",
    "LinkReport",
    "NodeReport",
    "Question",
    "Side",
    "StreamReport",
    "parse_answer",
    "parse_question",
]

#: The group that every running node is a member of (L7.1).
NODES = "demux-nodes"
#: The channel-layer message types of the question (L7.2) and of the answer (L7.3).
STATUS = "demux.status"
REPORT = "demux.report"
#: The type of a message that a node sends itself, to see whether the layer takes it (L7.8).
PROBE = "demux.probe"
#: The version of questions and answers. It is raised only where a reader of the one before would
#: take a report for something else: never for a new field.
REPORT_VERSION = 1
#: Stands for all close codes beyond the first so many that a stream has ended with.
OTHER_CODES = 0
#: The longest uptime of a report, in seconds: a float may also be infinite, or no number at all.
LONGEST_UPTIME = 1e10

#: Where a stream is seen from: the server, whose consumers are in workers (``edge``) or with it
#: in one process (``inline``), or a worker.
Side = Literal["edge", "inline", "worker"]


class StreamReport(msgspec.Struct, frozen=True, kw_only=True):
    """One stream as one side of it in one process has seen it (L7.6).

    All counts begin with the process. "In" is towards the consumer, "out" towards the client.

    Attributes:
        side: Which side that is.
        stream: The stream's name.
        channel: The stream's channel.
        sessions: Sessions that are open; on the side of workers, those that are hosted.
        pending: Opens that no consumer has accepted yet.
        frames_in: Payloads that passed towards the consumer.
        frames_out: Payloads that passed towards the client.
        in_flight: Payloads that this side has sent and that were not taken yet.
        full_in: How often a sender found the window towards the consumer full.
        full_out: How often one found that towards the client full.
        stalls_in: Streams closed because a consumer took nothing.
        stalls_out: Streams closed because a client took nothing.
        reopened: How often a session went on with another consumer after its worker was lost.
        closed: Streams that ended, by the code that the client was told; 0 for all codes beyond
            the first 32.
    """

    side: Side
    stream: str
    channel: str
    sessions: int = 0
    pending: int = 0
    frames_in: int = 0
    frames_out: int = 0
    in_flight: int = 0
    full_in: int = 0
    full_out: int = 0
    stalls_in: int = 0
    stalls_out: int = 0
    reopened: int = 0
    closed: dict[int, int] = msgspec.field(default_factory=dict)


class LinkReport(msgspec.Struct, frozen=True, kw_only=True):
    """One link, as one end of it sees it (L7.7).

    Attributes:
        peer: The channel of the peer's node.
        is_edge: Whether this is the edge's end.
        sessions: The sessions that ride on it.
        batches_sent: Batches with frames that were sent, those sent again not counted.
        batches_received: Batches with frames that have arrived, each counted once.
        in_flight: Batches that were sent and not acknowledged yet.
        retransmits: Batches sent again.
        repeats: Batches dropped because they had arrived before.
        round_trip: The smoothed round trip in seconds; None before the first was measured.
    """

    peer: str
    is_edge: bool
    sessions: int = 0
    batches_sent: int = 0
    batches_received: int = 0
    in_flight: int = 0
    retransmits: int = 0
    repeats: int = 0
    round_trip: float | None = None


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """One node.

    Attributes:
        node: Its channel.
        kind: ``server``, ``worker``, or ``both`` where one process is both, as in tests.
        release: The release of this package that it runs.
        wire: The version of the layer wire that it speaks.
        host: The name of its machine.
        pid: Its process id.
        uptime: Seconds since it was made.
        is_draining: Whether its sessions move to other workers, because it is to end.
        is_cut_off: Whether its channel layer fails.
        load: Sessions that its workers host.
        max_sessions: The most that they host; 0 for no bound.
        channels: The channels of the streams that its workers host.
        batches_sent: As in a link's report; of all links since the node was made.
        batches_received: The same.
        retransmits: The same.
        repeats: The same.
        ignored: Messages of the channel layer that it has ignored, by reason.
        streams: What it knows of streams.
        links: Its links.
    """

    node: str
    kind: Literal["server", "worker", "both"]
    release: str
    wire: int
    host: str
    pid: int
    uptime: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_UPTIME)] = 0.0
    is_draining: bool = False
    is_cut_off: bool = False
    load: int = 0
    max_sessions: int = 0
    channels: list[str] = msgspec.field(default_factory=list)
    batches_sent: int = 0
    batches_received: int = 0
    retransmits: int = 0
    repeats: int = 0
    ignored: dict[str, int] = msgspec.field(default_factory=dict)
    streams: list[StreamReport] = msgspec.field(default_factory=list)
    links: list[LinkReport] = msgspec.field(default_factory=list)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """To all nodes: how are you?"""

    version: int
    #: New for each question, so that a late answer to an earlier one is nobody's.
    ref: str
    #: The channel that answers go to.
    channel: str

    def to_message(self) -> dict[str, Any]:
        """Return the channel-layer message of this question."""
        return {"type": STATUS, **msgspec.structs.asdict(self)}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A node to whoever asked (L7.3)."""

    version: int
    ref: str
    #: A node's report, as MessagePack.
    report: bytes

    def to_message(self) -> dict[str, Any]:
        """Return the channel-layer message of this answer."""
        return {"type": REPORT, **msgspec.structs.asdict(self)}

    def unpack(self) -> NodeReport:
        """Return the node's report.

        Raises:
            msgspec.DecodeError: It is none that this release can read.
        """
        return msgspec.msgpack.decode(self.report, type=NodeReport)


def parse_question(message: dict[str, Any]) -> Question:
    """Read a question out of a channel-layer message.

    Args:
        message: A message of type ``demux.status``.

    Returns:
        The question.

    Raises:
        msgspec.ValidationError: A field is missing or of the wrong type.
    """
    return msgspec.convert(message, Question)


def parse_answer(message: dict[str, Any]) -> Answer:
    """Read an answer out of a channel-layer message.

    Args:
        message: A message of type ``demux.report``.

    Returns:
        The answer; its report is not unpacked yet.

    Raises:
        msgspec.ValidationError: A field is missing or of the wrong type.
    """
    return msgspec.convert(message, Answer)
