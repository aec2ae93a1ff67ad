"""The demo: five streams over one WebSocket, four of them hosted by workers.

``python -m channels_demux_layer.demo`` starts all processes and stops them at Ctrl-C. The Django
project is ``channels_demux_layer.demo.project``. The other modules start, watch and stop the
processes.
"""
