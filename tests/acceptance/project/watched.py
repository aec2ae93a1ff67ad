"""The application of `faults.py`, watched: its figures go to Prometheus."""

from channels_demux_layer.contrib import prometheus

from .faults import application

__all__ = ["application"]

prometheus.register()
