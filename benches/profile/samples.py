"""Samples the stacks of one thread with perf, and gives their frames names that people can read."""
from __future__ import annotations

import collections
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from measure.processes import StartFailed

_RATE = 1999
# What the paths of a Rust symbol are made readable by: its hash, its type arguments, the frame of an async block.
_HASH = re.compile(r"::h[0-9a-f]{16}$")
_OFFSET = re.compile(r"\+0x[0-9a-f]+$")
_NOT_KERNEL = ("[vdso]", "[unknown]", "[heap]", "[stack]")
_IN_ANGLES = re.compile(r"<[^<>]*>")


def thread(process: int, name: str) -> int:
    """The thread of that name."""
    for task in Path(f"/proc/{process}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            return int(task.name)
    raise StartFailed(f"there is no thread `{name}`")


def record(task: int, folder: Path, load: Callable[[], dict]) -> dict:
    """How often each stack, from the root to the leaf, was seen."""
    data = folder / "perf.data"
    perf = subprocess.Popen(
        ["perf", "record", "--quiet", "--event", "cpu-clock", "--freq", str(_RATE), "--call-graph", "dwarf,16384",
         "--tid", str(task), "--output", str(data)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    try:
        load()
    finally:
        perf.send_signal(signal.SIGINT)
        error = perf.communicate(timeout=60)[1]
    shown = subprocess.run(["perf", "script", "--input", str(data), "--fields", "ip,sym,dso", "--no-inline"],
                           capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    stacks = collections.Counter(_stacks(shown.stdout))
    if not stacks:
        raise StartFailed(f"perf: {(error or shown.stderr).strip()[:200]}")
    return stacks


def _stacks(text: str):
    """One stack for each paragraph."""
    for paragraph in text.split("\n\n"):
        frames = [frame for line in paragraph.splitlines() if (frame := _frame(line.strip()))]
        if frames:
            yield tuple(_without_repetition(reversed(frames)))


def _frame(line: str) -> str | None:
    found = re.match(r"[0-9a-f]+ (.*) \((.*)\)$", line)
    if not found:
        return None
    symbol, where = found.groups()
    if symbol == "[unknown]":
        return None
    # A module of the kernel stands in brackets, too.
    kernel = where.startswith("[") and where not in _NOT_KERNEL
    name = readable(symbol)
    return f"kernel:{name}" if kernel else name


def readable(symbol: str) -> str:
    """`<a::B<C> as d::E<F>>::g::h0123` becomes `a::B::g`."""
    name = _OFFSET.sub("", symbol)
    name = _HASH.sub("", name).replace("->", "")
    while (implementation := re.match(r"<([^<>]*(?:<.*>)?[^<>]*?) as [^<>]*(?:<.*>)?[^<>]*>::(.*)", name)):
        name = f"{implementation.group(1)}::{implementation.group(2)}"
    before = None
    while before != name:
        before, name = name, _IN_ANGLES.sub(_inside, name)
    name = re.sub(r"::(::)+", "::", name).removeprefix("::").replace("{{", "{").replace("}}", "}")
    return re.sub(r"(::\{closure\})+$", "::{closure}", name)


def _inside(found: re.Match) -> str:
    """Of `<T>` nothing is left but in front, where it names the type itself."""
    text = found.string
    if found.start() == 0 and text[found.end():].startswith("::"):
        return found.group()[1:-1].split(" as ")[0]
    return ""


def _without_repetition(frames):
    last = None
    for frame in frames:
        if frame != last:
            yield frame
        last = frame
