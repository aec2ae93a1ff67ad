"""The reports of nodes (L7.5), and the messages that ask for them.

New releases add fields to reports. A reader uses the default for a missing field and ignores an
unknown one (L7.4), so each release can read the reports of the others.
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
#: The type of a message that a node sends to itself, to check that the layer works (L7.8).
PROBE = "demux.probe"
#: The version of questions and answers. Raise it only if older readers would misread a report. A
#: new field does not need it.
REPORT_VERSION = 1
#: The key for all close codes of a stream beyond the first `tally.MAX_CODES`.
OTHER_CODES = 0
#: The longest valid uptime of a report, in seconds. It excludes infinity and NaN.
LONGEST_UPTIME = 1e10

#: The side that a stream is counted on: a server whose consumers run in workers (``edge``), a
#: server that hosts them itself (``inline``), or a worker.
Side = Literal["edge", "inline", "worker"]


class StreamReport(msgspec.Struct, frozen=True, kw_only=True):
    """One stream, as one side of it in one process sees it (L7.6).

    Counts start with the process. "In" means towards the consumer, "out" towards the client.

    Attributes:
        side: The side.
        stream: The stream's name.
        channel: The stream's channel.
        sessions: Open sessions. On a worker, those that it hosts.
        pending: Opens that no consumer has accepted yet.
        frames_in: Payloads that passed towards the consumer.
        frames_out: Payloads that passed towards the client.
        in_flight: Payloads that this side has sent and the other has not taken yet.
        full_in: How often a sender found the window towards the consumer full.
        full_out: How often a sender found the window towards the client full.
        stalls_in: Streams closed because a consumer took nothing.
        stalls_out: Streams closed because a client took nothing.
        reopened: How often a session continued with a new consumer after its worker was lost.
        poisoned: Streams closed because MAX_DELIVERIES workers had died with them.
        closed: Ended streams, by the close code that the client received. The key 0 counts all
            codes beyond the first 32.
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
    poisoned: int = 0
    closed: dict[int, int] = msgspec.field(default_factory=dict)


class LinkReport(msgspec.Struct, frozen=True, kw_only=True):
    """One link, as one end of it sees it (L7.7).

    Attributes:
        peer: The channel of the peer's node.
        is_edge: Whether this is the edge's end.
        sessions: Sessions on the link.
        batches_sent: Batches with frames that were sent, without retransmissions.
        batches_received: Batches with frames that were received, without repeats.
        in_flight: Batches that were sent but not acknowledged yet.
        retransmits: Batches that were sent again.
        repeats: Batches that were dropped because they had arrived before.
        round_trip: The smoothed round-trip time in seconds; None until the first measurement.
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
        node: The node's channel.
        kind: ``server``, ``worker``, or ``both`` if one process is both, as in tests.
        release: The release of this package.
        wire: The version of the layer wire.
        host: The name of the machine.
        pid: The process id.
        uptime: Seconds since the node was created.
        is_draining: Whether the node drains: its sessions move to other workers.
        is_cut_off: Whether calls to the channel layer fail.
        load: Sessions that the node's workers host.
        max_sessions: The maximum of ``load``; 0 for no limit.
        channels: The channels of the streams that the node's workers host.
        batches_sent: As in `LinkReport`, for all links since the node was created.
        batches_received: The same.
        retransmits: The same.
        repeats: The same.
        blocks: How often the event loop was blocked for longer than an eighth of PEER_TIMEOUT.
        ignored: Messages of the channel layer that the node ignored, by reason.
        streams: The streams that the node has seen.
        links: The node's links.
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
    blocks: int = 0
    ignored: dict[str, int] = msgspec.field(default_factory=dict)
    streams: list[StreamReport] = msgspec.field(default_factory=list)
    links: list[LinkReport] = msgspec.field(default_factory=list)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Asks all nodes for their reports (L7.2)."""

    version: int
    #: Unique for each question, so that late answers to an earlier one can be told apart.
    ref: str
    #: The channel to send answers to.
    channel: str

    def to_message(self) -> dict[str, Any]:
        """Return the channel-layer message of this question."""
        return {"type": STATUS, **msgspec.structs.asdict(self)}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A node's answer to a question (L7.3)."""

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
            msgspec.DecodeError: This release cannot read the report.
        """
        return msgspec.msgpack.decode(self.report, type=NodeReport)


def parse_question(message: dict[str, Any]) -> Question:
    """Return the question in a channel-layer message.

    Args:
        message: A message of type ``demux.status``.

    Returns:
        The question.

    Raises:
        msgspec.ValidationError: A field is missing or of the wrong type.
    """
    return msgspec.convert(message, Question)


def parse_answer(message: dict[str, Any]) -> Answer:
    """Return the answer in a channel-layer message.

    Args:
        message: A message of type ``demux.report``.

    Returns:
        The answer. Its report is not unpacked yet.

    Raises:
        msgspec.ValidationError: A field is missing or of the wrong type.
    """
    return msgspec.convert(message, Answer)
