"""Starts a Plangate and gives it tenants, keys and tokens."""
from __future__ import annotations

import http.client
import json
import time
from pathlib import Path

from . import programs
from .gateway import TENANTS, Gateway, Row, Site, ask, with_key, with_token
from .processes import StartFailed, last_words
from .tokens import Issuer

TOKEN = "compare-admin"
# What the plan `spent` allows in a month.
SPENT_AFTER = 5


class Admin:
    """The admin API over one kept connection."""

    def __init__(self, port: int):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, *_) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        text = answer.read().decode()
        if answer.status >= 300:
            raise StartFailed(f"plangate's admin API: {method} {path}: {answer.status} {text[:200]}")
        return json.loads(text) if text else {}

    def tenant(self, tenant: str, plan: str) -> str:
        """Makes a tenant with a plan; returns its key."""
        self.call("PUT", f"/v1/tenants/{tenant}?wait=none", {})
        self.call("PUT", f"/v1/tenants/{tenant}/subscription?wait=none", {"plan": plan})
        return self.call("POST", f"/v1/tenants/{tenant}/keys?wait=applied", {"name": "load"})["key"]

    def used(self, tenant: str) -> int:
        return self.call("GET", f"/v1/tenants/{tenant}/rights")["quotas"]["requests"]["used"]


class Plangate:
    """One build, started with some number of workers."""

    def __init__(self, site: Site, name: str, binary: Path, workers: int = 1, cores=None):
        self.name = name
        self.folder = site.templates.folder / f"plangate-{name}-{workers}".replace("/", "_")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._issuer = Issuer(programs.find("openssl"), self.folder)
        port, self._admin = site.ports.take(), site.ports.take()
        conf = site.templates.write(
            "plangate.yaml", f"{self.folder.name}/plangate.yaml", DIR=self.folder, PORT=port, ADMIN=self._admin,
            UPSTREAM=site.upstream, POLICIES=policies_folder(site), WORKERS=workers, TOKEN=TOKEN,
            JWKS=self._issuer.key_set())
        self._site, self._cores, self._command = site, cores, [binary, "serve", "--config", conf]
        self.label = "**Plangate**" if name == "plangate" else f"**Plangate** {name}"
        self.gateway = Gateway(name, self.label, port, [], counts=True)
        self._start()
        self.keys = self._tenants("load")

    def _start(self) -> None:
        log = self.folder / "log"
        process = self._site.stage.start(self._command, self._cores or self._site.cores.gateway, log)
        self.gateway.processes = [process]
        wait_until_ready(process, self.gateway.port, log)

    def restart(self) -> None:
        """Ends it and starts it again, with the tenants that it has."""
        self._site.stage.end(self.gateway.processes[0])
        self._start()

    def _tenants(self, plan: str) -> dict:
        """The keys of new tenants with this plan."""
        names = [f"{plan}-{index}" for index in range(TENANTS)]
        with Admin(self._admin) as admin:
            return {name: admin.tenant(name, plan) for name in names}

    def by_key(self) -> Row:
        """Every check on, with an API key."""
        return Row(self.name, f"{self.label}, API key", self.gateway, [with_key(key) for key in self.keys.values()])

    def by_two(self, threads: int) -> Row:
        """The same, of a gateway with two workers."""
        row = self.by_key()
        row.name, row.title, row.threads = f"{self.name} x2", f"{self.label}, API key, two workers", threads
        return row

    def by_token(self) -> Row:
        """Every check on, with a token."""
        return Row(f"{self.name} jwt", f"{self.label}, JWT (EdDSA)", self.gateway,
                   [with_token(self._issuer.token(tenant)) for tenant in self.keys], counted=False)

    def refused(self) -> Row:
        """Tenants whose quota is used up: each request is a 429."""
        requests = [with_key(key) for key in self._tenants("spent").values()]
        for request in requests:
            answers = [ask(self.gateway.port, request) for _ in range(SPENT_AFTER + 1)]
            statuses = [status for status, _ in answers]
            if statuses != [200] * SPENT_AFTER + [429] or "quota-exhausted" not in answers[-1][1]:
                raise StartFailed(f"a quota of {SPENT_AFTER} answered {statuses}")
        return Row(f"{self.name} refused", f"{self.label}, refusal (429)", self.gateway, requests, 429)

    def charged(self) -> int:
        """What has been counted so far, of all tenants that are not refused."""
        with Admin(self._admin) as admin:
            return sum(admin.used(tenant) for tenant in self.keys)


def policies_folder(site: Site) -> Path:
    """The policies of the measurements, written once."""
    folder = site.templates.folder / "policies"
    for name in ("features.yaml", "routes.yaml", "plans/load.yaml", "plans/spent.yaml"):
        site.templates.write(f"policies/{name}", LIMIT=site.limit)
    return folder


def wait_until_ready(process, port: int, log: Path, patience: float = 30.0, pause: float = 0.02) -> float:
    """Asks the probe until it says ready; returns the instant."""
    until = time.monotonic() + patience
    while time.monotonic() < until and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/.plangate/readyz")
            if connection.getresponse().status == 200:
                return time.monotonic()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(pause)
    raise StartFailed(f"plangate did not become ready: {last_words(log)}")
