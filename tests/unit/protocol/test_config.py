"""The numbers that a link runs by agree with one another."""

from channels_demux_layer.protocol.config import LinkConfig


def test_heartbeats_may_be_lost() -> None:
    """Three of four heartbeats may be lost within a peer timeout."""
    assert LinkConfig(peer_timeout=10.0).heartbeat_interval == 2.5


def test_the_defaults_agree() -> None:
    """An acknowledgement comes before a timeout, and there is room for what comes early."""
    config = LinkConfig()
    assert config.ack_delay < config.min_timeout < config.max_timeout < config.peer_timeout
    assert config.max_in_flight < config.max_early
    assert config.ack_every <= config.max_in_flight
