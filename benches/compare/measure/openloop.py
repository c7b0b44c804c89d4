"""Latency at a fixed rate: requests are due at random instants, whether or not earlier ones were answered."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from .gateway import Row
from .processes import exact_timers

CONNECTIONS = 64
WARMUP = 0.5


def write_requests(row: Row, folder: Path) -> Path:
    """The row's requests as a file for the generator."""
    path = folder / f"{row.gateway.port}-{row.status}-{len(row.requests[0])}.requests"
    path.write_bytes(b"\0".join(row.requests))
    return path


def measure(row: Row, rate: float, seconds: float, seed: int, generator: Path, requests: Path, cores) -> dict:
    """One run; rows measured with the same seed get the same arrivals."""

    def prepare():
        os.sched_setaffinity(0, cores)
        exact_timers()

    words = [generator, f"127.0.0.1:{row.gateway.port}", requests, rate, seconds, WARMUP, CONNECTIONS, row.status, seed]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds + 60,
                          check=False, stdin=subprocess.DEVNULL, preexec_fn=prepare)
    if done.returncode != 0:
        return {"failed": done.stderr.strip()[:200] or f"exit code {done.returncode}"}
    figures = json.loads(done.stdout)
    if figures.pop("failed"):
        figures["failed"] = f"some answers were not {row.status}"
    return figures
