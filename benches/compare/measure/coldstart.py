"""From the start of the process to ready, with a database of many tenants and many routes."""
from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from . import plangate, programs, usage
from .gateway import Site, ask, with_key
from .processes import StartFailed
from .tokens import Issuer

TENANTS = 100_000
ROUTES = 200
STARTS = 5


def measure(site: Site, name: str, binary: Path) -> dict:
    """Seconds from the start to ready and to the first answered request, of several starts."""
    folder = site.templates.folder / f"start-{name}".replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    command, port, admin = _configured(site, folder, binary)
    key = _fill(site, folder, command, port, admin)
    ready, first = [], []
    for _ in range(STARTS):
        started = time.monotonic()
        process = site.stage.start(command, site.cores.all, folder / "log")
        ready.append(plangate.wait_until_ready(process, port, folder / "log", pause=0.001) - started)
        status, text = ask(port, with_key(key))
        first.append(time.monotonic() - started)
        if status != 200:
            raise StartFailed(f"the first request was answered {status} {text[:200]}")
        with plangate.Admin(admin) as connection:
            last = connection.call("GET", f"/v1/tenants/copy-{TENANTS - 1}/rights")
        if last["plan"] != "load":
            raise StartFailed("a copied tenant has no plan")
        resident = usage.resident(usage.tree([process.pid]))
        site.stage.end(process)
    return {"tenants": TENANTS, "routes": ROUTES, "ready_s": ready, "first_s": first, "resident": resident}


def _configured(site: Site, folder: Path, binary: Path) -> tuple:
    port, admin = site.ports.take(), site.ports.take()
    policies = folder / "policies"
    plangate.policies_folder(site)
    (policies / "plans").mkdir(parents=True, exist_ok=True)
    source = site.templates.folder / "policies"
    for file in ("features.yaml", "plans/load.yaml"):
        (policies / file).write_text((source / file).read_text())
    lines = ["unmatched: deny", "defaults: { charge: { requests: 1 } }", "routes:"]
    lines += [f'  - {{ match: "GET|POST /v1/resource{index}/{{id}}", features: [api] }}' for index in range(1, ROUTES)]
    lines += ['  - { match: "GET|POST /v1/items/{id}", features: [api] }']
    (policies / "routes.yaml").write_text("\n".join(lines) + "\n")
    keys = Issuer(programs.find("openssl"), folder).key_set()
    conf = site.templates.write("plangate.yaml", f"{folder.name}/plangate.yaml", DIR=folder, PORT=port, ADMIN=admin,
                                UPSTREAM=site.upstream, POLICIES=policies, WORKERS=len(site.cores.all),
                                TOKEN=plangate.TOKEN, JWKS=keys)
    return [binary, "serve", "--config", conf], port, admin


def _fill(site: Site, folder: Path, command: list, port: int, admin: int) -> str:
    """Makes one tenant through the admin API and copies its rows; returns its key."""
    process = site.stage.start(command, site.cores.all, folder / "log")
    plangate.wait_until_ready(process, port, folder / "log")
    with plangate.Admin(admin) as connection:
        key = connection.tenant("first", "load")
    site.stage.end(process)
    with sqlite3.connect(folder / "plangate.db") as database:
        database.execute("PRAGMA foreign_keys = OFF")
        for table, own in (("tenants", {"id": "'copy-' || n"}), ("subscriptions", {"tenant": "'copy-' || n"}),
                           ("keys", {"id": "'key-copy-' || n", "tenant": "'copy-' || n", "hash": "randomblob(32)"})):
            _copy(database, table, own)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return key


def _copy(database: sqlite3.Connection, table: str, own: dict) -> None:
    """Repeats the only row of `table`; the columns in `own` are computed from the copy's number `n`."""
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(own.get(column, column) for column in columns)
    database.execute(
        f"WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {TENANTS}) "
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM numbers, (SELECT * FROM {table})")
