"""A node's own connections to the servers of channels_redis' layers; needs redis-py."""
