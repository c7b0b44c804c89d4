"""Says in tables what was measured."""
from __future__ import annotations

import collections
import re

# What each system call is made for. One that is not named here does not belong to a forwarded request.
CALLS = {
    "recvfrom": "the client's request; the upstream's answer",
    "sendto": "the request to the upstream; the answer to the client",
    "writev": "head and body together",
    "sendmsg": "head and body together",
    "epoll_wait": "which sockets have something: once for all that have",
    "epoll_pwait2": "which sockets have something: once for all that have",
    "futex": "another thread is woken (grants, flushes)",
    "write": "another thread's runtime is woken",
    "getrandom": "",
    "clock_gettime": "",
}
_DISPATCH = ("kernel:do_syscall_64", "kernel:x64_sys_call", "kernel:invoke_syscall", "kernel:el0_svc_common")
_RUNTIME = ("tokio::", "tokio_util::", "mio::", "futures_util::", "std::thread", "std::sys::thread_local")
_MEMORY = re.compile(r"^(_?mi_|__rust|__rdl|alloc::alloc|.*mem(cpy|move|set|cmp)|malloc|free|realloc|cfree)")


def kind(name: str) -> str:
    """Which colour a frame has."""
    if name.startswith("kernel:"):
        return "kernel"
    if name.startswith("plangate::"):
        return "plangate"
    if name.startswith(_RUNTIME):
        return "runtime"
    return "memory" if _MEMORY.match(name) else "library"


def without_roots(stack: tuple) -> tuple:
    """Without what every thread has below its own work."""
    for at, frame in enumerate(stack):
        if "block_on" in frame:
            return stack[at:]
    return stack


def area(stack: tuple) -> str:
    """To whose account a sample goes: the system call, or the innermost of our modules that is on the stack."""
    leaf = kind(stack[-1])
    if leaf == "kernel":
        for before, frame in zip(stack, stack[1:]):
            if before in _DISPATCH and frame not in _DISPATCH and not re.match(r"kernel:(exit|syscall)_", frame):
                return "kernel: " + re.sub(r"^kernel:(__x64_sys_|__arm64_sys_|__se_sys_|__sys_|do_)?", "", frame)
        return "kernel: entry, exit, interrupts"
    if leaf == "memory" and re.search(r"mi_|__rust|malloc|free", stack[-1]):
        return "allocator"
    for frame in reversed(stack):
        if found := re.match(r"plangate::(http::\w+|\w+)", frame):
            where = found.group(1)
            if where == "app":
                break
            return f"`{where.replace('::', '/')}`"
        if frame.startswith(_RUNTIME) and leaf == "runtime":
            return "tokio"
    return "tokio" if leaf == "runtime" else "other"


def markdown(about: dict, cost: dict, calls: dict, stacks: dict) -> str:
    """What goes into the page, between its marks."""
    own = about["machine"]
    lines = [
        f"{about['date']}, plangate {about['version']}, {own['cores']} cores ({own['processor']}), Linux {own['kernel']}, load "
        f"{own['load'].split()[0]}; {about['placement']}. {about['samples']:,} samples. "
        f"By the scheduler's accounting {cost['cpu_us']:.1f} us a request: {cost['user_us']:.1f} user, {cost['kernel_us']:.1f} kernel; "
        f"{cost['per_second']:,.0f} requests/s.", "",
        "| | us per request | share |", "|---|--:|--:|",
    ]
    whole = sum(stacks.values())
    sums = collections.Counter()
    for stack, count in stacks.items():
        sums[area(stack)] += count
    kernel = sum(count for name, count in sums.items() if name.startswith("kernel"))

    def row(name: str, count: int) -> str:
        return f"| {name} | {cost['cpu_us'] * count / whole:.2f} | {count / whole:.1%} |"

    for name, part in (("**user space**", whole - kernel), ("**kernel**", kernel)):
        lines.append(row(name, part))
        belongs = [(count, area) for area, count in sums.items() if area.startswith("kernel") == (name == "**kernel**")]
        small = sum(count for count, _ in belongs if count < whole * 0.005)
        lines += [row(area.removeprefix("kernel: "), count) for count, area in sorted(belongs, reverse=True)
                  if count >= whole * 0.005]
        if small:
            lines.append(row("what is below 0.5 % each", small))
    lines += ["", "| system call of the worker's thread | per request | failed | what for |", "|---|--:|--:|---|"]
    for name, (count, failed) in sorted(calls.items(), key=lambda one: -one[1][0]):
        if count >= 0.001:
            lines.append(f"| `{name}` | {count:.3f} | {failed:.3f} | {CALLS.get(name, '')} |")
    return "\n".join([*lines, ""])
