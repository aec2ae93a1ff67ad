"""The demo project as a Django application."""

import os

from django.apps import AppConfig

from channels_demux_layer.demo import child


class DemoConfig(AppConfig):
    """The demo project. Its processes end with their supervisor."""

    name = "channels_demux_layer.demo.project"
    label = "demux_demo"

    def ready(self) -> None:
        """Watch the lifeline if a supervisor started this process."""
        if "DEMUX_DEMO_LIFELINE" in os.environ:
            child.watch(child.STANDARD_INPUT)
