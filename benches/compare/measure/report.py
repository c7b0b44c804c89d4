"""The result as Markdown."""
from __future__ import annotations

from .summary import ratios, sound, spread


def markdown(result: dict) -> str:
    """Everything, ready to be pasted."""
    parts = [_head(result)]
    for section in (_load, _latency, _memory, _start, _goals):
        text = section(result)
        if text:
            parts.append(text)
    if result["skipped"]:
        parts.append("Not measured:\n\n" + "\n".join(f"- {name}: {why}" for name, why in result["skipped"].items()))
    if result["failures"]:
        parts.append("**Failed**:\n\n" + "\n".join(f"- {line}" for line in result["failures"]))
    return "\n\n".join(parts) + "\n"


def configurations(result: dict) -> str:
    """What each program was configured with."""
    blocks = [f"`{name}`\n\n```\n{text.rstrip()}\n```" for name, text in result["configurations"].items()]
    return "## Configurations\n\n" + "\n\n".join(blocks) + "\n"


def _head(result: dict) -> str:
    machine = result["machine"]
    versions = "; ".join(f"{name} {text}" for name, text in result["versions"].items())
    busy = float(machine["load"].split()[0]) >= 0.5 * machine["cores"]
    others = " (**the machine had other work when this began**)" if busy else ""
    place = result["placement"][0].upper() + result["placement"][1:]
    return (f"{result['date']}, {machine['cores']} cores ({machine['processor']}), Linux {machine['kernel']}, load at "
            f"the start {machine['load']}, at the end {machine['load_end']}{others}. {place}. "
            f"{result['rounds']} rounds of {result['seconds']:g} s a row.\n\n{versions}.")


def _load(result: dict) -> str | None:
    rounds = result["load"]
    if not rounds:
        return None
    lines = ["| row | CPU us/request | user | kernel | / nginx | / HAProxy tcp | requests/s | cores busy | p50 us "
             "| p99 us | RSS MiB |",
             "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for name, title in result["titles"].items():
        cpu = sound(rounds, name, "cpu_us")
        if not cpu:
            continue

        def middle(key, name=name):
            return spread(sound(rounds, name, key))["median"]

        lines.append(f"| {title} | {_range(cpu, 1)} | {middle('user_us'):.1f} | {middle('kernel_us'):.1f} | "
                     f"{_range(ratios(rounds, name, 'nginx', 'cpu_us'), 2)} | "
                     f"{_range(ratios(rounds, name, 'haproxy-tcp', 'cpu_us'), 2)} | {middle('per_second'):,.0f} | "
                     f"{middle('busy'):.2f} | {middle('p50_us'):,.0f} | {middle('p99_us'):,.0f} | "
                     f"{middle('resident') / 2**20:,.0f} |")
    text = "### CPU per request\n\n" + "\n".join(lines)
    parts = _parts(result)
    if parts:
        text += f"\n\nOf which: {parts}."
    for name, one in result["charged"].items():
        text += (f"\n\n{name} answered {one['answered']:,} requests with 200 and charged {one['charged']:,} "
                 f"(a run ends with up to 32 under way; {one['runs']} runs).")
    return text


def _parts(result: dict) -> str:
    """How the cost of several programs divides."""
    words = []
    for name in result["titles"]:
        shares = sound(result["load"], name, "parts_us")
        if shares and len(shares[0]) > 1:
            each = {part: spread([one.get(part, 0.0) for one in shares])["median"] for part in shares[0]}
            words.append(f"{name}: " + ", ".join(f"{part} {value:.1f}" for part, value in each.items()))
    return "; ".join(words)


def _latency(result: dict) -> str | None:
    rounds = result["latency"]
    if not rounds:
        return None
    lines = ["| row | p50 us | p90 us | p99 us | p99 / nginx |", "|---|--:|--:|--:|--:|"]
    for name in rounds[0]:
        if sound(rounds, name, "p99"):
            lines.append(f"| {result['titles'].get(name, name)} | " + " | ".join(
                _range(sound(rounds, name, key), 0) for key in ("p50", "p90", "p99"))
                + f" | {_range(ratios(rounds, name, 'nginx', 'p99'), 2)} |")
    return f"### Latency at {result['rate']:,.0f} requests/s (half of nginx's peak), open loop\n\n" + "\n".join(lines)


def _memory(result: dict) -> str | None:
    if not result["memory"]:
        return None
    lines = ["| | at rest MiB | with idle connections MiB | connections | bytes a connection |",
             "|---|--:|--:|--:|--:|"]
    for name, one in result["memory"].items():
        if "idle" not in one:
            continue
        each = (one["idle"] - one["rest"]) / (one["connections"] or 1)
        lines.append(f"| {name} | {one['rest'] / 2**20:.1f} | {one['idle'] / 2**20:.1f} | {one['connections']:,} "
                     f"| {each:,.0f} |")
    return "### Memory (resident)\n\n" + "\n".join(lines)


def _start(result: dict) -> str | None:
    if not result["start"]:
        return None
    lines = ["| | tenants | routes | ready s | first answer s | RSS MiB |", "|---|--:|--:|--:|--:|--:|"]
    for name, one in result["start"].items():
        lines.append(f"| {name} | {one['tenants']:,} | {one['routes']} | {_range(one['ready_s'], 3)} | "
                     f"{_range(one['first_s'], 3)} | {one['resident'] / 2**20:.1f} |")
    return "### Cold start\n\n" + "\n".join(lines)


def _goals(result: dict) -> str | None:
    judged = result["goals"]
    if not judged:
        return None
    lines = ["| goal | build | wanted | measured | |", "|---|---|--:|--:|---|"]
    for one in judged:
        wanted = f"at least {one['at_least']:g}" if "at_least" in one else f"at most {one['at_most']:g}"
        if "measured" not in one:
            lines.append(f"| {one['goal']} | {one['build']} | {wanted} | | not measured |")
            continue
        found = one["measured"]
        values = _range([found["min"], found["median"], found["max"]], 1 if "MiB" in one["goal"] else 2)
        verdict = "met" if one.get("met") else "**missed**"
        lines.append(f"| {one['goal']} | {one['build']} | {wanted} | {values} | {verdict} |")
    return "### Goals\n\n" + "\n".join(lines)


def _range(values: list, digits: int) -> str:
    """The median, with least and greatest behind it."""
    found = spread(values)
    if not found:
        return "-"
    if found["min"] == found["max"]:
        return f"{found['median']:,.{digits}f}"
    return f"{found['median']:,.{digits}f} ({found['min']:,.{digits}f}-{found['max']:,.{digits}f})"
