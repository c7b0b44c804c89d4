"""Memory at rest, and with many connections that were used once and are then left open."""
from __future__ import annotations

import contextlib
import socket
import time

from .gateway import Gateway

CONNECTIONS = 10_000


def measure(gateway: Gateway, requests: list, files: int) -> dict:
    """Resident bytes before and after, and how many connections were open."""
    time.sleep(1.0)
    rest = gateway.resident()
    wanted = min(CONNECTIONS, files - 500)
    figures = {"rest": rest, "connections": wanted}
    with contextlib.ExitStack() as held:
        connections = []
        for index in range(wanted):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=10))
            status = _one_request(connection, requests[index % len(requests)])
            if status != 200:
                return {**figures, "failed": f"connection {index + 1} was answered {status}"}
            connections.append(connection)
        time.sleep(1.0)
        figures["idle"] = gateway.resident()
        closed = sum(_closed(connection) for connection in connections)
        if closed:
            figures["failed"] = f"{closed} connections were closed"
    if wanted < CONNECTIONS:
        figures["failed"] = f"only {wanted} connections: this shell may open {files} files (ulimit -n)"
    return figures


def _one_request(connection: socket.socket, request: bytes) -> int:
    """Sends a request and reads the answer to its end; zero if there is none."""
    connection.sendall(request)
    text = b""
    while b"\r\n\r\n" not in text:
        more = connection.recv(4096)
        if not more:
            return 0
        text += more
    head, rest = text.split(b"\r\n\r\n", 1)
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    left = int(lengths[0]) - len(rest) if lengths else 0
    while left > 0:
        left -= len(connection.recv(4096)) or left
    return int(head[9:12])


def _closed(connection: socket.socket) -> bool:
    """Whether the other side has ended it: a connection at rest has nothing to read."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
