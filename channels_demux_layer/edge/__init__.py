"""The server's side: one client's WebSocket, its streams, and where each of them is served."""
