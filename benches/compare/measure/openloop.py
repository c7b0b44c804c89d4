"""Latency at a fixed rate: requests are due at random instants, whether or not earlier ones were answered."""
from __future__ import annotations

import json
from pathlib import Path

from . import processes
from .gateway import Row

CONNECTIONS = 64
WARMUP = 0.5


def write_requests(row: Row, folder: Path) -> Path:
    """The row's requests as a file for the generator."""
    path = folder / f"{row.gateway.port}-{row.status}-{len(row.requests[0])}.requests"
    path.write_bytes(b"\0".join(row.requests))
    return path


def measure(row: Row, rate: float, seconds: float, seed: int, generator: Path, requests: Path, cores) -> dict:
    """One run; rows measured with the same seed get the same arrivals."""
    address = f"127.0.0.1:{row.gateway.port}"
    command = [generator, address, requests, rate, seconds, WARMUP, CONNECTIONS, row.status, seed]
    done = processes.run(command, cores, seconds + 60)
    if done.returncode != 0:
        return {"failed": done.stderr.strip()[:200] or f"exit code {done.returncode}"}
    figures = json.loads(done.stdout)
    if figures.pop("failed"):
        figures["failed"] = f"some answers were not {row.status}"
    return figures
