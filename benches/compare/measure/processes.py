"""Starts processes on given cores, waits until they answer, and ends every one of them, whatever happens."""
from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29
_LIBC = ctypes.CDLL(None, use_errno=True)


class StartFailed(Exception):
    """A process ended or did not answer; the message is for people."""


class OutOfTime(Exception):
    """The run was allowed no longer."""


class Ports:
    """Free ports of the loopback, below those that the kernel gives to outgoing connections."""

    def __init__(self, first: int = 21000):
        self._next = first

    def take(self) -> int:
        while self._next < 32000:
            port = self._next
            self._next += 1
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
        raise StartFailed("no free port")


class Stage:
    """All processes of one run. Leaving it ends them."""

    def __init__(self):
        self._running = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_) -> None:
        for process in reversed(self._running):
            stop(process)
        self._running.clear()

    def start(self, command: list, cores, log: Path, environment: dict | None = None) -> subprocess.Popen:
        """Starts `command` in a group of its own, so that Ctrl-C reaches only us and we end it in order."""
        with open(log, "ab") as output:
            process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=output, start_new_session=True, preexec_fn=lambda: _prepare(cores),
                                       env={**os.environ, **(environment or {})})
        self._running.append(process)
        return process

    def end(self, process: subprocess.Popen) -> None:
        """Ends one process before the others."""
        stop(process)
        if process in self._running:
            self._running.remove(process)


def run(command: list, cores, patience: float) -> subprocess.CompletedProcess:
    """Runs a load generator to its end."""
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=patience,
                          check=False, stdin=subprocess.DEVNULL, start_new_session=True,
                          preexec_fn=lambda: _prepare(cores))


def _prepare(cores) -> None:
    """In the child: its cores, its priority, timers that fire when due, and an end when we are killed."""
    os.sched_setaffinity(0, cores)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # By default a sleep may last 50 us longer than asked, which a sender by the clock cannot have.
    _LIBC.prctl(_PR_SET_TIMERSLACK, 1)
    # Where the kernel shares a core among sessions first, a session has a priority of its own.
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as group:
        group.write(str(os.getpriority(os.PRIO_PROCESS, 0)))


def stop(process: subprocess.Popen, patience: float = 5.0) -> None:
    """Asks the group to end, then ends it."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def wait_for_port(process: subprocess.Popen, port: int, log: Path, patience: float = 20.0) -> None:
    """Returns when something accepts connections at `port`."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise StartFailed(f"{Path(process.args[0]).name} did not start: {last_words(log)}")


def last_words(log: Path) -> str:
    """The end of what a program wrote."""
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "no output"
    return " | ".join(lines[-3:])[:400] or "no output"


def end_on_signals(seconds: int) -> None:
    """Ends the run in order when it is asked to end, and after `seconds` in any case."""

    def leave(number, _frame):
        raise KeyboardInterrupt(f"signal {number}")

    def too_late(_number, _frame):
        raise OutOfTime(f"not done within {seconds} s (--limit)")

    # Ctrl-C, too: a shell that starts this in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(seconds)


def say(text: str) -> None:
    """Progress; the report alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)
