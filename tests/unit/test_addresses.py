"""The addresses of a layer's servers, without their secrets."""

from typing import Any

import pytest

from channels_demux_layer.addresses import addresses_of


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ({"hosts": ["redis://user:secret@10.0.0.1:6380/0"]}, "10.0.0.1:6380"),
        ({"hosts": ["rediss://redis.example"]}, "redis.example:6379"),
        ({"hosts": ["unix:///run/redis.sock?db=1"]}, "/run/redis.sock"),
        ({"hosts": [("a", 1), ["b", 2]]}, "a:1, b:2"),
        ({"hosts": [{"address": "redis://:secret@a:1"}]}, "a:1"),
        ({"hosts": [{"address": ("a", 1)}]}, "a:1"),
        ({"hosts": [{"host": "a", "password": "secret"}]}, "a:6379"),
        ({"hosts": [{"master_name": "m", "sentinels": []}]}, "Sentinel's m"),
        ({"hosts": ["redis://a:port"]}, "an unknown address"),
        ({"hosts": [7, {"address": None}, ""]}, ", ".join(["an unknown address"] * 3)),
        ({"hosts": "redis://a"}, ""),
        ({"HOST": "db", "PASSWORD": "secret"}, "db:5432"),
        ({"HOST": "", "PORT": 1}, "localhost:1"),
        ({}, ""),
        (None, ""),
    ],
)
def test_addresses(settings: Any, config: Any, shown: str) -> None:
    """Every form that channels_redis and DATABASES take is shown, and no user or password."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "x", "CONFIG": config}}
    assert addresses_of("default") == shown


def test_layers_that_are_none(settings: Any) -> None:
    """An alias without a configuration has no address."""
    settings.CHANNEL_LAYERS = {"odd": None}
    assert addresses_of("odd") == addresses_of("missing") == ""
