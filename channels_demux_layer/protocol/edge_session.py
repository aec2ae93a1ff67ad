"""One stream of a connection as its edge sees it: hosted by one worker after the other.

The edge's session outlives the sessions of links. When a worker is lost, or asks to hand the stream
over, the edge opens the stream again on another worker. These are the rules:

* A stream starts as opening, and opens with the accept of its first consumer. Payloads go to a
  worker only while the stream is open. Until then they wait in the session's window.
* A worker that is lost makes an open stream reopen. The client hears of the next accept, because
  the next consumer starts without the state of the lost one.
* A worker that drains asks the edge to move the stream. The edge sends it nothing more, and takes
  its last replies. When the worker closes with 1012, the next worker takes over, and the client
  hears nothing of it.
* When the stream ends, the edge closes the session at its worker, and waits for the worker's close.
  A stream that is cut off is over for the client at once.

The table TRANSITIONS has these rules. An input without an entry is an error in the edge itself: the
link drops what a peer may not send before it gets here.
"""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["TRANSITIONS", "EdgeInput", "EdgeState"]


class EdgeState(Enum):
    """Where a stream stands at its edge.

    Attributes:
        sends: Whether payloads go to the worker.
        is_pending: Whether the stream waits for a consumer to accept.
        is_told: Whether the client knows that the stream is over. Nothing more goes to it then.
    """

    sends: bool
    is_pending: bool
    is_told: bool

    # The names keep states apart that allow the same.
    OPENING = ("opening", False, True, False)
    OPEN = ("open", True, False, False)
    LEAVING = ("leaving", False, True, False)
    MOVING = ("moving", False, True, False)
    REOPENING = ("reopening", False, True, False)
    CLOSING = ("closing", False, False, False)
    CUT_OFF = ("cut off", False, False, True)
    ENDED = ("ended", False, False, True)

    def __init__(self, _name: str, sends: bool, is_pending: bool, is_told: bool) -> None:
        self.sends = sends
        self.is_pending = is_pending
        self.is_told = is_told

    @property
    def seeks(self) -> bool:
        """Whether the next accept opens the stream: there is no worker, or one that was granted."""
        return self.is_pending and self is not EdgeState.LEAVING


class EdgeInput(Enum):
    """What moves a stream at its edge.

    Attributes:
        ACCEPT: The worker's consumer has accepted.
        MOVE: The worker asks the edge to hand the stream over.
        HAND_OVER: The worker has closed with 1012.
        LOSE: The worker is gone, or does not know the session.
        CLOSE: The edge closes the stream: its client has, or the connection ends.
        CUT_OFF: The edge closes the stream, and does not wait for the consumer.
        END: The worker has closed, or there is none to wait for.
    """

    ACCEPT = auto()
    MOVE = auto()
    HAND_OVER = auto()
    LOSE = auto()
    CLOSE = auto()
    CUT_OFF = auto()
    END = auto()


_S, _I = EdgeState, EdgeInput

TRANSITIONS: dict[tuple[EdgeState, EdgeInput], EdgeState] = {
    (_S.OPENING, _I.ACCEPT): _S.OPEN,
    (_S.OPENING, _I.MOVE): _S.LEAVING,
    (_S.OPENING, _I.LOSE): _S.OPENING,
    (_S.OPEN, _I.MOVE): _S.LEAVING,
    (_S.OPEN, _I.LOSE): _S.REOPENING,
    # The accept and the wish to move came together.
    (_S.LEAVING, _I.ACCEPT): _S.LEAVING,
    (_S.LEAVING, _I.MOVE): _S.LEAVING,
    (_S.LEAVING, _I.HAND_OVER): _S.MOVING,
    # The last replies of the old consumer are lost.
    (_S.LEAVING, _I.LOSE): _S.REOPENING,
    (_S.MOVING, _I.ACCEPT): _S.OPEN,
    (_S.MOVING, _I.MOVE): _S.LEAVING,
    # The next consumer has not started, so the client has lost nothing.
    (_S.MOVING, _I.LOSE): _S.MOVING,
    (_S.REOPENING, _I.ACCEPT): _S.OPEN,
    (_S.REOPENING, _I.MOVE): _S.LEAVING,
    (_S.REOPENING, _I.LOSE): _S.REOPENING,
    # These crossed with the edge's close.
    (_S.CLOSING, _I.ACCEPT): _S.CLOSING,
    (_S.CLOSING, _I.MOVE): _S.CLOSING,
    (_S.CUT_OFF, _I.ACCEPT): _S.CUT_OFF,
    (_S.CUT_OFF, _I.MOVE): _S.CUT_OFF,
    # Nobody looks for another worker for a stream that is closed.
    (_S.CLOSING, _I.LOSE): _S.ENDED,
    (_S.CUT_OFF, _I.LOSE): _S.ENDED,
    # The edge may close a stream at any time, and cut it off while it closes.
    **{(state, _I.CLOSE): _S.CLOSING for state in (_S.OPENING, _S.OPEN, _S.LEAVING)},
    **{(state, _I.CLOSE): _S.CLOSING for state in (_S.MOVING, _S.REOPENING, _S.CLOSING)},
    (_S.CUT_OFF, _I.CLOSE): _S.CUT_OFF,
    **{(state, _I.CUT_OFF): _S.CUT_OFF for state in EdgeState if state is not _S.ENDED},
    **{(state, _I.END): _S.ENDED for state in EdgeState if state is not _S.ENDED},
}
