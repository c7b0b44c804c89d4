"""Counts the system calls of one thread while it is under load."""
from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable

from measure.processes import StartFailed

_LINE = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+(\d+))?\s+(\w+)$", re.MULTILINE)


def count(thread: int, load: Callable[[], dict]) -> dict:
    """Calls by name, and how many of them failed, for each request. Tracing slows the thread down, so that more events
    wait for it at a time: what is shared by a batch is shared by more requests than without."""
    tracer = subprocess.Popen(["strace", "-c", "-p", str(thread)], stderr=subprocess.PIPE, text=True,
                              stdin=subprocess.DEVNULL)
    time.sleep(0.5)
    try:
        requests = load()["requests"]
    finally:
        tracer.send_signal(signal.SIGINT)
        text = tracer.communicate(timeout=20)[1]
    found = {name: (int(calls) / requests, int(errors or 0) / requests) for calls, errors, name in _LINE.findall(text)
             if name != "total"}
    if not found:
        raise StartFailed(f"strace: {text.strip()[:200]}")
    return found
