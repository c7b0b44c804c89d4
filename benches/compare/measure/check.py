"""Proves without load that each gateway does what its row says: forwards, and counts each key where it claims to."""
from __future__ import annotations

from .gateway import BODY, Gateway, ask, made_up_keys, with_key

# The limit that gateways are started with for this check.
LIMIT = 5


def forwards(gateway: Gateway, request: bytes) -> str | None:
    """What is wrong with an answer, if anything."""
    status, body = ask(gateway.port, request)
    if status != 200 or body != BODY:
        return f"answered {status} {body[:80]!r}"
    return None


def counts(gateway: Gateway, keys: list | None = None) -> str | None:
    """What is wrong with the counting: the limit's last request must pass, the next not, and other keys stay free."""
    first, other = (keys or made_up_keys())[:2]
    statuses = [ask(gateway.port, with_key(first))[0] for _ in range(LIMIT + 1)]
    wanted = [200] * LIMIT + [429 if gateway.counts else 200]
    if statuses != wanted:
        return f"{LIMIT + 1} requests were answered {statuses}, expected {wanted}"
    return forwards(gateway, with_key(other))
