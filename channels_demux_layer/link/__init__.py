"""The link: a reliable, ordered conversation between two nodes, without I/O.

A channel layer delivers a message at most once: it drops in silence when a channel is full,
may repeat, may reorder concurrent sends, and forgets everything when it restarts. A link puts
batches with sequence numbers, acknowledgements and retransmission on top, and windows for each
session, so that between two live nodes every frame arrives once and in order.

Nothing in here does I/O, reads a clock or logs. Inputs are method calls that take ``now`` in
seconds of any monotonic clock; outputs are drained: ``batch_to_send()``, ``events()``,
``deadline``. What a peer does wrong becomes an event, never an exception.
"""
