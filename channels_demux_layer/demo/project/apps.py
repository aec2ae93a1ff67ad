"""What the demo's processes do as Django starts in them."""

import os

from django.apps import AppConfig

from channels_demux_layer.demo import lifeline


class DemoConfig(AppConfig):
    """The demo project as a Django application."""

    name = "channels_demux_layer.demo.project"
    label = "demux_demo"

    def ready(self) -> None:
        """End with the supervisor, in a process that one started."""
        if "DEMUX_DEMO_LIFELINE" in os.environ:
            lifeline.watch(lifeline.STANDARD_INPUT)
