"""Who we are to the API server, and the connections to it, as the kubernetes package makes both.

The package reads tokens, token files, certificates, user and password, runs exec plugins and older auth-providers, and
makes the connection pool; it is the same from its release 30 to 37. What it does not do is here: impersonation,
credentials that are had anew after a 401, and errors in one line (the package logs why a plugin failed, and goes on).
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from vllmperf.errors import TargetError
from vllmperf.kube import ways
from vllmperf.kube.kubeconfig import Context

RENEWABLE = ("tokenFile", "exec", "auth-provider")
"""Keys of a user entry whose credentials may be others when they are asked for again."""


class Login:
    """Credentials and connections of a context, made at the first request. May be used from several threads."""

    def __init__(self, context: Context):
        self._context = context
        self._lock = threading.RLock()
        self._settings: Any = None
        self._pool: Any = None

    @property
    def settings(self) -> Any:
        """The package's Configuration. Raises TargetError when credentials cannot be had."""
        from kubernetes import client

        with self._lock:
            if self._settings is None:
                settings = client.Configuration()
                with _told(self._context):
                    self._context.load_into(settings)
                self._settings = settings
            return self._settings

    def authorization(self) -> str | None:
        """Value of the header. Expired tokens are had anew, a pod's own token once a minute."""
        with self._lock:
            settings = self.settings
            if settings.refresh_api_key_hook is not None:
                with _told(self._context):
                    settings.refresh_api_key_hook(settings)
            token = settings.api_key.get("BearerToken") or settings.api_key.get("authorization")
        # a token file may end with a line end, or begin with a byte order mark
        return " ".join(str(token).replace("\ufeff", "").split()) if token else None

    def renew(self) -> bool:
        """Called after a 401; whether asking again makes sense."""
        if not any(self._context.user.get(key) for key in RENEWABLE):
            return False
        with self._lock:
            self.close()
            self._settings = None
        return True

    def pool(self) -> Any:
        """The urllib3 pool. Raises UsageError for a proxy that cannot be one."""
        with self._lock:
            if self._pool is None:
                self._pool = _new_pool(self.settings, self._context)
            return self._pool

    @property
    def proxy(self) -> str | None:
        """The proxy that requests go through, once there was one."""
        return ways.proxy_of_pool(self._pool)

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.clear()
            self._pool = None


def impersonation(user: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Headers for the `as…` keys of a user entry."""
    headers = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
    headers += [("Impersonate-Uid", str(user["as-uid"]))] if user.get("as-uid") else []
    headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or []]
    for key, values in (user.get("as-user-extra") or {}).items():
        headers += [(f"Impersonate-Extra-{key}", str(value)) for value in values]
    return headers


def _new_pool(settings: Any, context: Context) -> Any:
    from kubernetes import client
    from urllib3.exceptions import InsecureRequestWarning

    settings.ssl_ca_cert = settings.ssl_ca_cert or ssl.get_default_verify_paths().cafile
    proxy, no_proxy = ways.proxy_of(settings.host, context.cluster)
    through_socks = proxy is not None and ways.is_socks(proxy)
    settings.proxy, settings.no_proxy = (None, None) if through_socks else (proxy, no_proxy)
    if not settings.verify_ssl:
        # The kubeconfig says so; a warning for each request would hide the results.
        warnings.filterwarnings("ignore", category=InsecureRequestWarning)
    pool = client.ApiClient(settings).rest_client.pool_manager
    return ways.through_socks(pool, proxy) if proxy is not None and through_socks else pool


@contextlib.contextmanager
def _told(context: Context) -> Iterator[None]:
    """What the package raises or logs inside, as one TargetError."""
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    try:
        yield
    except Exception as error:  # any kind: it runs other people's programs
        raise _failure(context, str(error)) from None
    finally:
        logging.getLogger().removeHandler(errors)
    if errors.texts:
        raise _failure(context, errors.texts[0])


def _failure(context: Context, text: str) -> TargetError:
    plugin = context.user.get("exec")
    hint = plugin.get("installHint") if isinstance(plugin, dict) else None
    why = " ".join(text.split()) + (f"; {hint}" if hint else "")
    return TargetError(f"no credentials of context {context.name!r}: {' '.join(why.split())}")


class _Errors(logging.Handler):
    """Errors that are logged by the thread that made this."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.texts.append(record.getMessage())
