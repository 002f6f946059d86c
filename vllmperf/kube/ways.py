"""The proxy on the way to an API server: of the kubeconfig or the environment, HTTP or SOCKS."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from vllmperf.errors import UsageError

SCHEMES = ("http", "https", "socks5", "socks5h")


def proxy_of(server: str, cluster: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(proxy, hosts without one): of the kubeconfig, else of the environment, as kubectl does.

    Raises UsageError for one that cannot be used."""
    import urllib.request

    if cluster.get("proxy-url"):
        return _usable(str(cluster["proxy-url"]), "proxy-url in the kubeconfig"), None
    found = urllib.request.getproxies()
    scheme = server.partition(":")[0]
    proxy = found.get(scheme)
    if proxy is None:
        return None, None
    if is_socks(proxy) and urllib.request.proxy_bypass(urlsplit(server).hostname or ""):
        return None, None
    return _usable(proxy, f"the environment's {scheme}_proxy"), found.get("no")


def _usable(proxy: str, where: str) -> str:
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in SCHEMES and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"{where} is {shown(proxy)}: give http, https or socks5://HOST:PORT")
    if is_socks(proxy) and find_spec("socks") is None:
        raise UsageError(f"{where} is {shown(proxy)}: a SOCKS proxy needs PySocks: pip install PySocks")
    return proxy


def is_socks(proxy: str) -> bool:
    return proxy.startswith("socks")


def shown(proxy: str) -> str:
    """A proxy in messages, without its user and password."""
    before, at, behind = proxy.rpartition("@")
    return f"{before.partition('://')[0]}://{behind}" if at and "://" in before else behind


def through_socks(pool: Any, proxy: str) -> Any:
    """An urllib3 pool that connects as another one does, through a SOCKS proxy, which resolves names as for kubectl."""
    from urllib3.contrib.socks import SOCKSProxyManager

    url = proxy.replace("socks5://", "socks5h://", 1)
    return SOCKSProxyManager(url, headers=pool.headers, **pool.connection_pool_kw)


def proxy_of_pool(pool: Any) -> str | None:
    """The proxy that a pool goes through, for messages."""
    proxy = getattr(pool, "proxy_url", None) or getattr(pool, "proxy", None)
    return shown(str(proxy)).replace("socks5h://", "socks5://") if proxy else None


def is_proxy_s(error: BaseException | None) -> bool:
    """Whether it was the proxy that could not be reached, or that refused."""
    from urllib3.exceptions import ProxyError

    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, ProxyError) or type(error).__name__ == "ProxyConnectionError":
            return True
        seen.add(id(error))
        reason = getattr(error, "reason", None)
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
    return False
