"""What is said, and what state it leaves: without I/O, clock, task, thread or log.

Its heart is the link, a reliable and ordered conversation between two nodes. A channel layer
delivers a message at most once: it drops in silence when a channel is full, may repeat, may
reorder concurrent sends, and forgets everything when it restarts. A link adds batches with
sequence numbers, acknowledgements and retransmission, and a window for each session. So between
two live nodes every frame arrives once and in order.

Inputs are method calls that take ``now`` in seconds of any monotonic clock. Outputs are drained:
``batch_to_send()``, ``events()``, ``deadline``. What a peer does wrong becomes an event, never an
exception.
"""
