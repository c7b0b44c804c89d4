"""The machine: which cores gateway and load get, and what is said about it in the report."""
from __future__ import annotations

import os
import platform
import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cores:
    """Who runs where. `pair` is for two workers."""

    gateway: frozenset
    pair: frozenset
    load: frozenset
    all: frozenset

    @property
    def shared(self) -> bool:
        """Whether two workers have to share a core with the load."""
        return bool(self.pair & self.load)

    def words(self) -> str:
        def listed(cores):
            return ",".join(str(core) for core in sorted(cores))

        return (f"gateway on core {listed(self.gateway)}, upstream and load on {listed(self.load)}, "
                f"two workers on {listed(self.pair)}")


def cores() -> Cores:
    """One hardware thread of each physical core, as far as this process may use them."""
    usable = sorted(os.sched_getaffinity(0))
    first_of = {}
    for core in usable:
        siblings = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        try:
            name = siblings.read_text().strip()
        except OSError:
            name = str(core)
        first_of.setdefault(name, core)
    physical = sorted(first_of.values())
    if len(physical) == 1 and len(usable) > 1:
        physical = usable[:2]
    everything = frozenset(physical)
    gateway = frozenset(physical[:1])
    pair = frozenset(physical[:2])
    if len(physical) >= 4:
        return Cores(gateway, pair, frozenset(physical[2:]), everything)
    return Cores(gateway, pair, frozenset(physical[1:]) or gateway, everything)


def raise_file_limit() -> int:
    """Lets this process and its children open as many files as they may; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def description() -> dict:
    """Processor, kernel, memory and load, as words."""
    return {
        "processor": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _field("/proc/meminfo", "MemTotal") or "",
        "kernel": platform.release(),
        "load": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }


def _field(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), None)
