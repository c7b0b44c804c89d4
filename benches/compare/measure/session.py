"""One run: starts what is there, measures the parts that were asked for, and gathers the result."""
from __future__ import annotations

import datetime
import http.client
import sqlite3
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from . import check, closed, coldstart, idle, openloop, peers, programs, summary
from .gateway import NEVER, Row, Site, made_up_keys, start_upstream, with_key
from .machine import Cores, description
from .plangate import Plangate
from .processes import OutOfTime, Ports, Stage, StartFailed, say
from .templates import Templates


@dataclass
class Wish:
    """What the command line asked for."""

    parts: list
    builds: dict
    rounds: int
    seconds: float
    only: list


@dataclass
class Session:
    """What was started and what came out."""

    wish: Wish
    site: Site
    rows: dict = field(default_factory=dict)
    builds: dict = field(default_factory=dict)
    result: dict = field(default_factory=dict)

    @staticmethod
    def opened(wish: Wish, stage: Stage, folder: Path, cores: Cores, files: int) -> Session:
        limit = check.LIMIT if wish.parts == ["check"] else NEVER
        site = Site(stage, Templates(folder), Ports(), cores, limit, files)
        session = Session(wish, site)
        session.result = {
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": description(), "placement": cores.words(), "shared": cores.shared, "rounds": wish.rounds,
            "seconds": wish.seconds, "builds": list(wish.builds), "versions": {}, "titles": {}, "skipped": {},
            "failures": [], "charged": {}, "parts": wish.parts, "load": [], "latency": [], "memory": {}, "start": {},
            "rate": None,
        }
        return session

    def run(self) -> dict:
        """Everything that was asked for; a part that cannot be measured is named and left out."""
        absent = programs.missing(["nginx"])
        if absent:
            raise StartFailed(f"the upstream is an nginx: {absent}")
        absent = programs.missing(["openssl"])
        if absent and self.wish.builds:
            self._skip("Plangate", f"its tokens: {absent}")
            self.wish.builds.clear()
        start_upstream(self.site, programs.find("nginx"))
        self._note_version("nginx", programs.find("nginx"))
        for name, binary in self.wish.builds.items():
            self.result["versions"][f"plangate ({name})"] = f"{programs.version(binary)} [{programs.digest(binary)}]"
        wanted = set(self.wish.parts)
        needs_gateways = {"load", "latency", "check"}
        try:
            for part, measure in (("gateways", self._start_gateways), ("check", self._check), ("load", self._load),
                                  ("latency", self._latency), ("ended", self._end_gateways),
                                  ("memory", self._memory), ("start", self._cold_start)):
                if part in wanted or (part in ("gateways", "ended") and wanted & needs_gateways):
                    self._guarded(part, measure)
        except OutOfTime as error:
            self._fail(str(error))
        self.result["goals"] = summary.judge(self.result)
        self.result["machine"]["load_end"] = description()["load"]
        self.result["configurations"] = self.site.templates.used
        return self.result

    def _guarded(self, part: str, measure) -> None:
        """A part that fails leaves the others standing."""
        try:
            measure()
        except (StartFailed, OSError, http.client.HTTPException, sqlite3.Error, subprocess.SubprocessError) as error:
            self._fail(f"{part}: {error!r}")

    def _wanted(self, name: str) -> bool:
        # Every ratio is to nginx, and the floor is shown beside it.
        return not self.wish.only or name in self.wish.only or name in ("nginx", "haproxy-tcp")

    def _start_gateways(self) -> None:
        keys = made_up_keys()
        for peer in peers.PEERS:
            if not self._wanted(peer.name):
                continue
            absent = programs.missing(peer.needs)
            if absent:
                self._skip(peer.title, absent)
                continue
            try:
                gateway = peer.start(self.site)
            except StartFailed as error:
                self._skip(peer.title, str(error))
                continue
            self._add(Row(peer.name, peer.title, gateway, [with_key(key) for key in keys], gateway.status))
            for need in peer.needs:
                if need == "ratelimit":
                    self.result["versions"]["limitador (library)"] = programs.limitador_version()
                elif programs.find(need):
                    self._note_version(need, programs.find(need))
        for name, binary in self.wish.builds.items():
            self._start_build(name, binary)

    def _start_build(self, name: str, binary: Path) -> None:
        try:
            build = Plangate(self.site, name, binary)
            self.builds[name] = build
            self._add(build.by_key())
            self._add(build.by_token())
            if self.wish.parts == ["check"]:
                return
            self._add(build.refused())
            both = Plangate(self.site, name, binary, 2, self.site.cores.pair)
            self._add(both.by_two(2 if len(self.site.cores.load) > 1 else 1))
        except StartFailed as error:
            self._skip(name, str(error))

    def _add(self, row: Row) -> None:
        self.rows[row.name] = row
        self.result["titles"][row.name] = row.title

    def _end_gateways(self) -> None:
        for gateway in {id(row.gateway): row.gateway for row in self.rows.values()}.values():
            for process in gateway.processes:
                self.site.stage.end(process)

    def _check(self) -> None:
        for name, row in self.rows.items():
            wrong = check.answers(row) or (check.counts(row) if row.status == 200 and row.counted else None)
            if wrong:
                self._fail(f"{name}: {wrong}")
            else:
                say(f"ok: {name}" + (", counts" if row.gateway.counts else ""))

    def _load(self) -> None:
        wrk = programs.find("wrk")
        if not wrk:
            self._skip("CPU per request", programs.missing(["wrk"]))
            return
        self._note_version("wrk", wrk)
        scripts = {name: closed.write_script(row, self.site.templates.folder) for name, row in self.rows.items()}

        def once(name: str, seconds: float) -> dict:
            return closed.measure(self.rows[name], seconds, wrk, scripts[name], self.site.cores.load)

        self._rounds("load", list(self.rows), lambda name, _: once(name, self.wish.seconds), lambda name: once(name, 1))
        for name, build in self.builds.items():
            self._exact(name, build)

    def _exact(self, name: str, build: Plangate) -> None:
        """What was charged is what was answered, and at most what wrk had under way at the end of each run."""
        counted = [one[row]["requests"] for one in [self.result["warm"], *self.result["load"]]
                   for row in (name, f"{name} jwt") if row in one and "requests" in one[row]]
        answered, charged = sum(counted), build.charged()
        if not answered <= charged <= answered + len(counted) * closed.CONNECTIONS:
            self._fail(f"{name}: {answered} requests were answered, {charged} charged")
        self.result["charged"][name] = {"answered": answered, "charged": charged, "runs": len(counted)}

    def _latency(self) -> None:
        generator = programs.find("openloop")
        if not generator:
            self._skip("latency", programs.missing(["openloop"]))
            return
        names = [name for name in ("nginx", "haproxy-tcp", *self.builds, *(f"{build} jwt" for build in self.builds))
                 if name in self.rows]
        peak = summary.sound(self.result["load"], "nginx", "per_second") or self._peak()
        if not peak:
            self._skip("latency", "nginx's peak is not known: wrk is needed for it")
            return
        rate = self.result["rate"] = round(statistics.median(peak) / 2)
        files = {name: openloop.write_requests(self.rows[name], self.site.templates.folder) for name in names}

        def once(name: str, seed: int) -> dict:
            return openloop.measure(self.rows[name], rate, self.wish.seconds, seed, generator, files[name],
                                    self.site.cores.load)

        self._rounds("latency", names, once, None)

    def _peak(self) -> list:
        wrk, row = programs.find("wrk"), self.rows.get("nginx")
        if not wrk or not row:
            return []
        script = closed.write_script(row, self.site.templates.folder)
        runs = [closed.measure(row, 1, wrk, script, self.site.cores.load) for _ in range(3)]
        return [run["per_second"] for run in runs if "failed" not in run]

    def _rounds(self, part: str, names: list, once, warm_up) -> None:
        """Each round measures every row once, each time beginning with another one."""
        if warm_up:
            say(f"{part}: warming up {len(names)} rows")
            self.result["warm"] = {name: warm_up(name) for name in names}
        for number in range(self.wish.rounds):
            say(f"{part}: round {number + 1} of {self.wish.rounds}")
            turn = number % len(names)
            seen = {name: once(name, number) for name in names[turn:] + names[:turn]}
            self.result[part].append({name: seen[name] for name in names})
            for name in names:
                if "failed" in seen[name]:
                    self._fail(f"{part}, round {number + 1}, {name}: {seen[name]['failed']}")

    def _memory(self) -> None:
        gateways = []
        if not programs.missing(["nginx"]):
            keys = made_up_keys()
            gateways.append(("nginx", lambda: (peers.nginx(self.site), [with_key(key) for key in keys])))
        for name, binary in self.wish.builds.items():
            def start(name=name, binary=binary):
                build = Plangate(self.site, f"{name}-idle", binary)
                build.restart()
                return build.gateway, build.by_key().requests
            gateways.append((name, start))
        for name, start in gateways:
            say(f"memory: {name}")
            try:
                gateway, requests = start()
                self.result["memory"][name] = idle.measure(gateway, requests, self.site.files)
            except (StartFailed, OSError) as error:
                self._fail(f"memory, {name}: {error}")
                continue
            for process in gateway.processes:
                self.site.stage.end(process)
            if "failed" in self.result["memory"][name]:
                self._fail(f"memory, {name}: {self.result['memory'][name]['failed']}")

    def _cold_start(self) -> None:
        for name, binary in self.wish.builds.items():
            say(f"cold start: {name}")
            try:
                self.result["start"][name] = coldstart.measure(self.site, name, binary)
            except (StartFailed, OSError) as error:
                self._fail(f"cold start, {name}: {error}")

    def _note_version(self, name: str, path: Path) -> None:
        self.result["versions"].setdefault(name, programs.version(path))

    def _skip(self, title: str, why: str) -> None:
        say(f"skipped: {title}: {why}")
        self.result["skipped"][title] = why

    def _fail(self, line: str) -> None:
        say(f"FAILED: {line}")
        self.result["failures"].append(line)
