"""Runs consumers that know nothing of this package: what they get, and what they say."""
