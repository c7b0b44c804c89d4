"""A started gateway, the rows measured through it, and the requests that are sent to it."""
from __future__ import annotations

import http.client
import secrets
import string
from dataclasses import dataclass
from pathlib import Path

from . import usage
from .machine import Cores
from .processes import Ports, Stage, wait_for_port
from .templates import Templates

PATH = "/v1/items/17"
BODY = '{"id":17,"name":"a sample item","price":"19.00","tags":["a","b"],"note":"one hundred bytes or so"}'
# As long as one of Plangate's.
REFUSAL = ('{"type":"urn:plangate:problem:quota-exhausted","title":"The quota is used up","status":429,"detail":"'
           + "." * 159 + '","code":"quota-exhausted","tenant":"spent-17","plan":"spent","meter":"requests","limit":5,'
           '"used":5,"retry_after":648000}')
TENANTS = 100
# No limit is reached during a measurement; the check uses a small one.
NEVER = 2_000_000_000


@dataclass
class Site:
    """Where gateways are started: shared by all of them."""

    stage: Stage
    templates: Templates
    ports: Ports
    cores: Cores
    limit: int
    files: int
    upstream: int = 0

    def launch(self, name: str, command: list, port: int, cores=None, environment: dict | None = None):
        """Starts a program and waits until it answers at `port`."""
        log = self.templates.folder / f"{name}.log"
        process = self.stage.start(command, cores or self.cores.gateway, log, environment)
        wait_for_port(process, port, log)
        return process


@dataclass
class Gateway:
    """One peer: everything that it needs to carry a request counts as its cost."""

    name: str
    title: str
    port: int
    processes: list
    counts: bool = False
    status: int = 200

    def pids(self) -> list:
        return usage.tree([process.pid for process in self.processes])

    def resident(self) -> int:
        return usage.resident(self.pids())


@dataclass
class Row:
    """One line of the table: requests sent through a gateway."""

    name: str
    title: str
    gateway: Gateway
    requests: list
    status: int = 200
    threads: int = 1
    # Whether the check may use up the quota of its second request.
    counted: bool = True


def with_key(key: str) -> bytes:
    """A request with an API key, as it goes over the wire."""
    return _request(f"x-api-key: {key}")


def with_token(token: str) -> bytes:
    """A request with a token."""
    return _request(f"Authorization: Bearer {token}")


def _request(credential: str) -> bytes:
    return (f"GET {PATH} HTTP/1.1\r\nHost: api.example\r\nUser-Agent: compare/1\r\nAccept: */*\r\n"
            f"{credential}\r\n\r\n").encode()


def made_up_keys() -> list:
    """Keys as long as Plangate's, for gateways that take any."""
    letters = string.ascii_letters + string.digits
    return ["pgk_" + "".join(secrets.choice(letters) for _ in range(36)) for _ in range(TENANTS)]


def ask(port: int, request: bytes) -> tuple:
    """Sends one prepared request on a connection of its own; returns status and body."""
    head, *lines = request.decode().split("\r\n")
    method, path, _ = head.split(" ")
    headers = dict(line.split(": ", 1) for line in lines if line)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def start_upstream(site: Site, nginx: Path) -> None:
    """The service behind the gateways."""
    site.upstream = site.ports.take()
    workers = min(2, max(1, len(site.cores.load) - 1))
    conf = site.templates.write("upstream.conf", PORT=site.upstream, WORKERS=workers, BODY=BODY)
    log = site.templates.folder / "upstream.log"
    site.launch("upstream", [nginx, "-e", log, "-c", conf], site.upstream, site.cores.load)
