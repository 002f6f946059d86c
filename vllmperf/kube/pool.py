"""Connections to the API server, with TLS and proxies as the kubernetes package makes them.

Of the package only this is used (and its older auth-providers), so that its releases 30 to 37 do the same: its own calls
differ in how they read logs, treat 410, repeat and decode. It is imported at the first request, since that takes a
second or more.
"""

from __future__ import annotations

import base64
import shutil
import ssl
import tempfile
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllmperf.errors import UsageError
from vllmperf.kube import ways
from vllmperf.kube.kubeconfig import Context


def new_pool(context: Context, files: Files, certificate: tuple[str, str] | None) -> Any:
    """An urllib3 PoolManager for a context. `certificate` (PEM texts) is shown instead of that of the user entry.

    Raises UsageError for certificates that cannot be read.
    """
    from kubernetes import client

    cluster, user = context.cluster, context.user
    settings = client.Configuration()
    settings.host = str(cluster["server"]).rstrip("/")
    settings.verify_ssl = not cluster.get("insecure-skip-tls-verify")
    own = files.of(cluster, "certificate-authority", context.cluster_folder)
    settings.ssl_ca_cert = own or ssl.get_default_verify_paths().cafile
    settings.cert_file = files.of(user, "client-certificate", context.user_folder)
    settings.key_file = files.of(user, "client-key", context.user_folder)
    if certificate is not None:
        settings.cert_file, settings.key_file = map(files.write, certificate)
    settings.tls_server_name = cluster.get("tls-server-name")
    proxy, no_proxy = ways.proxy_of(settings.host, cluster)
    through_socks = proxy is not None and ways.is_socks(proxy)
    settings.proxy, settings.no_proxy = (None, None) if through_socks else (proxy, no_proxy)
    if not settings.verify_ssl:
        _accept_insecure()
    pool = client.ApiClient(settings).rest_client.pool_manager
    return ways.through_socks(pool, proxy) if proxy is not None and through_socks else pool


class Files:
    """Certificates and keys that came as data, in files, since TLS libraries want files; gone with the owner."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._finalizer: Any = None
        self._written: dict[str, str] = {}

    def of(self, entry: Mapping[str, Any], key: str, folder: Path) -> str | None:
        """The file for `key` or `key-data` of a kubeconfig entry."""
        if entry.get(f"{key}-data"):
            try:
                return self.write(base64.b64decode(entry[f"{key}-data"]).decode())
            except ValueError:
                raise UsageError(f"{key}-data in the kubeconfig is not base64 of a PEM file") from None
        if not entry.get(key):
            return None
        path = folder / str(entry[key])
        if not path.is_file():
            raise UsageError(f"{key} in the kubeconfig is {path}, which is not there")
        return str(path)

    def write(self, text: str) -> str:
        if text not in self._written:
            if self.folder is None:
                self.folder = Path(tempfile.mkdtemp(prefix="vllmperf-kube-"))
                self._finalizer = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
            path = self.folder / str(len(self._written))
            path.touch(mode=0o600)
            path.write_text(text)
            self._written[text] = str(path)
        return self._written[text]

    def close(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self.folder, self._written = None, {}


def _accept_insecure() -> None:
    from urllib3.exceptions import InsecureRequestWarning

    # The user's kubeconfig says so; a warning for each request would hide the results.
    warnings.filterwarnings("ignore", category=InsecureRequestWarning)
