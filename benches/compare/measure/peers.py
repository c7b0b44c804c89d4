"""The peers: what each needs, and how it is started."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import programs
from .gateway import REFUSAL, Gateway, Site


@dataclass(frozen=True)
class Peer:
    """A gateway other than ours."""

    name: str
    title: str
    needs: tuple
    start: Callable


def nginx(site: Site) -> Gateway:
    port = site.ports.take()
    conf = site.templates.write("nginx.conf", PORT=port, UPSTREAM=site.upstream, FILES=min(site.files - 100, 30000))
    log = site.templates.folder / "nginx.log"
    process = site.launch("nginx", [programs.find("nginx"), "-e", log, "-c", conf], port)
    return Gateway("nginx", TITLES["nginx"], port, [process])


def nginx_refuse(site: Site) -> Gateway:
    port = site.ports.take()
    conf = site.templates.write("nginx-refuse.conf", PORT=port, REFUSAL=REFUSAL)
    log = site.templates.folder / "nginx-refuse.log"
    process = site.launch("nginx-refuse", [programs.find("nginx"), "-e", log, "-c", conf], port)
    return Gateway("nginx-refuse", TITLES["nginx-refuse"], port, [process], status=429)


def haproxy_tcp(site: Site) -> Gateway:
    return _haproxy(site, "haproxy-tcp", False)


def haproxy_count(site: Site) -> Gateway:
    return _haproxy(site, "haproxy-count", True)


def _haproxy(site: Site, name: str, counts: bool) -> Gateway:
    port = site.ports.take()
    conf = site.templates.write(f"{name}.cfg", PORT=port, UPSTREAM=site.upstream, LIMIT=site.limit)
    process = site.launch(name, [programs.find("haproxy"), "-db", "-f", conf], port)
    return Gateway(name, TITLES[name], port, [process], counts)


def nginx_redis(site: Site) -> Gateway:
    kept, port = site.ports.take(), site.ports.take()
    redis_conf = site.templates.write("redis.conf", PORT=kept)
    redis = site.launch("redis", [programs.find("redis-server"), redis_conf], kept)
    conf = site.templates.write("nginx-redis.conf", PORT=port, UPSTREAM=site.upstream, REDIS=kept, LIMIT=site.limit,
                                NDK=programs.nginx_module("ndk_http_module"),
                                LUA=programs.nginx_module("ngx_http_lua_module"))
    site.templates.write("count-in-redis.lua")
    log = site.templates.folder / "nginx-redis.log"
    process = site.launch("nginx-redis", [programs.find("nginx"), "-e", log, "-c", conf], port)
    return Gateway("nginx-redis", TITLES["nginx-redis"], port, [process, redis], counts=True)


def envoy(site: Site) -> Gateway:
    port = site.ports.take()
    conf = site.templates.write("envoy.yaml", PORT=port, UPSTREAM=site.upstream)
    return Gateway("envoy", TITLES["envoy"], port, [_envoy(site, "envoy", conf, port)])


def envoy_limit(site: Site) -> Gateway:
    limits, port = site.ports.take(), site.ports.take()
    service = site.launch("ratelimit", [programs.find("ratelimit"), f"127.0.0.1:{limits}", site.limit], limits)
    conf = site.templates.write("envoy-limit.yaml", PORT=port, UPSTREAM=site.upstream, LIMITS=limits)
    process = _envoy(site, "envoy-limit", conf, port)
    return Gateway("envoy-limit", TITLES["envoy-limit"], port, [process, service], counts=True)


def _envoy(site: Site, name: str, conf, port: int):
    command = [programs.find("envoy"), "-c", conf, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    return site.launch(name, command, port)


def traefik(site: Site) -> Gateway:
    port = site.ports.take()
    site.templates.write("traefik-routes.yaml", UPSTREAM=site.upstream)
    conf = site.templates.write("traefik.yaml", PORT=port)
    process = site.launch("traefik", [programs.find("traefik"), f"--configFile={conf}"], port,
                          environment={"GOMAXPROCS": "1"})
    return Gateway("traefik", TITLES["traefik"], port, [process])


def caddy(site: Site) -> Gateway:
    port = site.ports.take()
    conf = site.templates.write("Caddyfile", PORT=port, UPSTREAM=site.upstream)
    home = str(site.templates.folder)
    process = site.launch("caddy", [programs.find("caddy"), "run", "--config", conf, "--adapter", "caddyfile"], port,
                          environment={"GOMAXPROCS": "1", "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home})
    return Gateway("caddy", TITLES["caddy"], port, [process])


TITLES = {
    "nginx": "nginx, proxy_pass, no checks",
    "nginx-refuse": "nginx, nothing but 429",
    "haproxy-tcp": "HAProxy, mode tcp (copies bytes)",
    "haproxy-count": "HAProxy, stick table per key",
    "nginx-redis": "nginx, Lua counting in Redis",
    "envoy": "Envoy, no checks",
    "envoy-limit": "Envoy, rate-limit service",
    "traefik": "Traefik, no checks",
    "caddy": "Caddy, no checks",
}

PEERS = [Peer(name, TITLES[name], needs, start) for name, needs, start in (
    ("nginx", ("nginx",), nginx),
    ("nginx-refuse", ("nginx",), nginx_refuse),
    ("haproxy-tcp", ("haproxy",), haproxy_tcp),
    ("haproxy-count", ("haproxy",), haproxy_count),
    ("nginx-redis", ("nginx", "nginx-lua", "redis-server"), nginx_redis),
    ("envoy", ("envoy",), envoy),
    ("envoy-limit", ("envoy", "ratelimit"), envoy_limit),
    ("traefik", ("traefik",), traefik),
    ("caddy", ("caddy",), caddy),
)]
