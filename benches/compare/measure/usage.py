"""What processes used: processor time in nanoseconds, its user and kernel parts, and resident memory."""
from __future__ import annotations

import os
from dataclasses import dataclass, field

_TICK = 1e9 / os.sysconf("SC_CLK_TCK")


@dataclass
class Sample:
    """Counters of whole process trees at one instant, by thread."""

    threads: dict = field(default_factory=dict)
    user: float = 0.0
    kernel: float = 0.0

    def since(self, before: Sample) -> dict:
        """Nanoseconds used by each program since `before`, and the shares of user space and kernel.

        A thread that ended in between takes its last part with it: a pool that shrinks is seen a little short."""
        parts = {}
        for key, (program, used) in self.threads.items():
            grown = used - before.threads.get(key, (program, 0.0))[1]
            parts[program] = parts.get(program, 0.0) + grown
        user, kernel = self.user - before.user, self.kernel - before.kernel
        return {"total": sum(parts.values()), "parts": parts, "user_share": user / ((user + kernel) or 1.0)}


def tree(pids: list) -> list:
    """These processes and all below them."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(f"/proc/{name}")
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    found, queue = [], list(pids)
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue.extend(children.get(pid, []))
    return found


def sample(pids: list) -> Sample:
    """Reads the counters of the processes (of each thread, as the scheduler keeps them)."""
    taken = Sample()
    for pid in pids:
        fields = _stat(f"/proc/{pid}")
        if not fields:
            continue
        taken.user += float(fields[11]) * _TICK
        taken.kernel += float(fields[12]) * _TICK
        program = _name(pid)
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for thread in threads:
            used = _scheduled(f"/proc/{pid}/task/{thread}")
            if used is not None:
                taken.threads[(pid, thread)] = (program, used)
    return taken


def resident(pids: list) -> int:
    """Resident bytes of the processes, pages that they share counted in each."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8") as status:
                total += sum(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))
        except OSError:
            continue
    return total


def _stat(folder: str) -> list | None:
    """The fields after the name, which may itself hold spaces and brackets."""
    try:
        with open(f"{folder}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()
    except OSError:
        return None


def _scheduled(folder: str) -> float | None:
    try:
        with open(f"{folder}/schedstat", encoding="utf-8") as schedstat:
            return float(schedstat.read().split()[0])
    except OSError:
        fields = _stat(folder)
        return (float(fields[11]) + float(fields[12])) * _TICK if fields else None


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
            return comm.read().strip()
    except OSError:
        return str(pid)
