"""Proves without load that each gateway does what its row says: forwards, and counts each key where it claims to."""
from __future__ import annotations

from .gateway import BODY, Row, ask

# The limit that gateways are started with for this check.
LIMIT = 5


def answers(row: Row) -> str | None:
    """What is wrong with the answer to the row's first request, if anything."""
    status, body = ask(row.gateway.port, row.requests[0])
    if status != row.status or (status == 200 and body != BODY):
        return f"answered {status} {body[:80]!r}"
    return None


def counts(row: Row) -> str | None:
    """What is wrong with the counting: the limit's last request must pass, the next not, and another key stays free."""
    statuses = [ask(row.gateway.port, row.requests[1])[0] for _ in range(LIMIT + 1)]
    wanted = [200] * LIMIT + [429 if row.gateway.counts else 200]
    if statuses != wanted:
        return f"{LIMIT + 1} requests were answered {statuses}, expected {wanted}"
    return answers(row)
