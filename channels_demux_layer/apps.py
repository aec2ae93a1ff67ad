"""The package as a Django app."""

from django.apps import AppConfig
from django.core import checks as django_checks

__all__ = ["ChannelsDemuxLayerConfig"]


class ChannelsDemuxLayerConfig(AppConfig):
    """Registers the system checks; has no models."""

    name = "channels_demux_layer"
    label = "channels_demux_layer"
    verbose_name = "Channels demux layer"

    def ready(self) -> None:
        """Register the system checks."""
        from .checks import wiring as checks

        django_checks.register(checks.check_settings, checks.TAG)
        django_checks.register(checks.check_wiring, checks.TAG)
        django_checks.register(checks.check_imports, checks.TAG, deploy=True)
