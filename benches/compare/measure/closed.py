"""Full load with wrk: connections that send the next request when the last is answered."""
from __future__ import annotations

import json
from pathlib import Path

from . import processes, usage
from .gateway import PATH, Row

CONNECTIONS = 32

_SCRIPT = """-- Sends the prepared requests in turn and prints the result as JSON.
local requests = {
%s
}
local turn = 0
function request()
  turn = turn + 1
  return requests[turn %% #requests + 1]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%%d,"micros":%%d,"p50":%%.1f,"p99":%%.1f,"refused":%%d,"broken":%%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""


def write_script(row: Row, folder: Path) -> Path:
    """The row's requests as a script for wrk."""
    # What JSON escapes in such text, Lua reads alike.
    quoted = [json.dumps(request.decode()) for request in row.requests]
    path = folder / f"{row.gateway.port}-{row.status}-{len(row.requests[0])}.lua"
    path.write_text(_SCRIPT % ",\n".join(quoted))
    return path


def measure(row: Row, seconds: float, wrk: Path, script: Path, cores) -> dict:
    """One short run; everything that the gateway's processes used in it counts."""
    pids = row.gateway.pids()
    before = usage.sample(pids)
    command = [wrk, "-t", row.threads, "-c", CONNECTIONS, "-d", f"{max(1, round(seconds))}s",
               "-s", script, f"http://127.0.0.1:{row.gateway.port}{PATH}"]
    done = processes.run(command, cores, seconds + 30)
    used = usage.sample(pids).since(before)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        return {"failed": f"wrk: {(done.stderr or done.stdout).strip()[:200]}"}
    seen = json.loads(line[len("RESULT "):])
    requests = seen["requests"]
    if not requests:
        return {"failed": "no request was answered"}
    per_request = used["total"] / requests / 1000
    figures = {
        "cpu_us": per_request,
        "user_us": per_request * used["user_share"],
        "kernel_us": per_request * (1 - used["user_share"]),
        "parts_us": {program: ns / requests / 1000 for program, ns in used["parts"].items()},
        "busy": used["total"] / (seen["micros"] * 1000),
        "per_second": requests / seen["micros"] * 1e6,
        "requests": requests,
        "p50_us": seen["p50"],
        "p99_us": seen["p99"],
        "resident": row.gateway.resident(),
    }
    wrong = seen["refused"] if row.status == 200 else requests - seen["refused"]
    if wrong or seen["broken"]:
        figures["failed"] = f"{wrong} of {requests} answers were not {row.status}, {seen['broken']} connections broke"
    return figures
