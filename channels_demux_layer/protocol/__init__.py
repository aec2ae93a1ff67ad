"""The wires and their state, without I/O, clock, task, thread or log.

Its core is the link (`link.py`), a reliable and ordered conversation between two nodes. A channel
layer delivers a message at most once: it drops messages when a channel is full, may repeat them,
may reorder concurrent sends, and forgets everything when it restarts. A link adds batches with
sequence numbers, acknowledgements and retransmission, and a window for each session. So between two
live nodes, each frame arrives exactly once and in order.

Inputs are method calls. They take ``now``, in seconds of any monotonic clock. Outputs are drained:
``batch_to_send()``, ``events()``, ``deadline``. A fault of the peer becomes an event, never an
exception.
"""
