"""Medians and spreads over the rounds, ratios taken within each round, and the goals."""
from __future__ import annotations

import statistics
from dataclasses import dataclass


def spread(values: list) -> dict | None:
    """Median, least and greatest."""
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def sound(rounds: list, name: str, key: str) -> list:
    """One figure of a row, of each round in which the row did not fail."""
    return [one[name][key] for one in rounds if name in one and "failed" not in one[name]]


def ratios(rounds: list, name: str, to: str, key: str) -> list:
    """The row's figure divided by another's, round by round."""
    return [one[name][key] / one[to][key] for one in rounds
            if all(row in one and "failed" not in one[row] and one[row][key] for row in (name, to))]


@dataclass(frozen=True)
class Goal:
    """A figure of ours divided by another's, and what it may be."""

    title: str
    row: str
    to: str
    at_most: float
    key: str = "cpu_us"


def load_goals(name: str) -> list:
    """The goals that compare processor time per request, for the build `name`."""
    return [
        Goal("API key / nginx", name, "nginx", 0.90),
        Goal("JWT / nginx", f"{name} jwt", "nginx", 0.95),
        Goal("API key / HAProxy mode tcp", name, "haproxy-tcp", 1.10),
        Goal("API key / HAProxy with a stick table", name, "haproxy-count", 0.95),
        Goal("API key / nginx with Lua and Redis", name, "nginx-redis", 0.40),
        Goal("API key / Envoy, no checks", name, "envoy", 0.25),
        Goal("API key / Envoy with a rate-limit service", name, "envoy-limit", 0.11),
        Goal("two workers / one", f"{name} x2", name, 1.10),
        Goal("refusal / forwarded", f"{name} refused", name, 0.60),
    ]


def judge(result: dict) -> list:
    """Every goal with what was measured: `measured` is absent where the part was not run or its row failed."""
    judged = []
    for name in result["builds"]:
        for goal in load_goals(name):
            values = ratios(result["load"], goal.row, goal.to, goal.key)
            judged.append(_judged("load", name, goal.title, values, goal.at_most))
        judged.append(_throughput(result, name))
        values = ratios(result["latency"], name, "nginx", "p99")
        judged.append(_judged("latency", name, "p99 at half of nginx's peak / nginx", values, 1.0))
        values = result["start"].get(name, {}).get("ready_s", [])
        judged.append(_judged("start", name, "cold start to ready, 100,000 tenants, 200 routes (s)", values, 0.5))
        memory = result["memory"].get(name, {})
        for title, key, most in (("memory at rest (MiB)", "rest", 40),
                                 ("memory with 10,000 idle connections (MiB)", "idle", 150)):
            values = [memory[key] / 2**20] if key in memory and "failed" not in memory else []
            judged.append(_judged("memory", name, title, values, most))
    return [one for one in judged if one["part"] in result["parts"]]


def _throughput(result: dict, name: str) -> dict:
    """More is better here, and two cores cannot tell: the load needs cores of its own."""
    values = [] if result["shared"] else ratios(result["load"], f"{name} x2", name, "per_second")
    judged = _judged("load", name, "requests/s of two workers / one", values, None)
    judged["at_least"] = 1.8
    if values:
        judged["met"] = judged["measured"]["median"] >= 1.8
    return judged


def _judged(part: str, name: str, title: str, values: list, at_most: float | None) -> dict:
    judged = {"part": part, "build": name, "goal": title, "at_most": at_most}
    if values:
        judged["measured"] = spread(values)
        if at_most is not None:
            judged["met"] = judged["measured"]["median"] <= at_most
    return judged
