"""The demo: five streams over one WebSocket, four of them served by workers of their own.

``python -m channels_demux_layer.demo`` starts all of it and stops it at Ctrl-C. The Django
project that it runs is ``channels_demux_layer.demo.project``; the other modules start, watch and
end the processes.
"""
