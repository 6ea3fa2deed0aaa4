"""Servers that take a connection and then do not answer as they should."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def silent_server(behave: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """The address of one that does ``behave`` on each connection, until the event that it gets is set."""
    stop, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))
    connections = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                threading.Thread(target=behave, args=(connection, stop), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        listener.close()
        for connection in connections:
            connection.close()
