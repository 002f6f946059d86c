"""Who we are to the API server: headers of each request and the client certificate, renewed where they can be.

The order when a user entry has several is client-go's: tokenFile, token, basic, auth-provider, exec; a client
certificate is shown besides. Exec plugins: kubernetes.io/docs/reference/access-authn-authz/authentication,
"client-go credential plugins", v1 and v1beta1.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.errors import TargetError, UsageError
from vllmperf.kube.kubeconfig import Context
from vllmperf.kube.stamps import NS_PER_S, parse_stamp

TOKEN_FILE_KEPT_S = 60.0
EXPIRY_MARGIN_S = 10.0
PLUGIN_LIMIT_S = 60.0
PLUGIN_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class Credentials:
    """A fixed Authorization header, or none."""

    def __init__(self, authorization: str | None = None):
        self._authorization = authorization

    def authorization(self) -> str | None:
        """Value of the header; runs the plugin or reads the file when that is due."""
        return self._authorization

    def certificate(self) -> tuple[str, str] | None:
        """PEM texts (certificate, key) from a plugin."""
        return None

    def renew(self) -> bool:
        """Called after a 401; whether asking again makes sense."""
        return False


class TokenFile(Credentials):
    """A token in a file that is replaced while we run, as a pod's is; read again each minute and after a 401."""

    def __init__(self, path: Path):
        super().__init__()
        self._path, self._read_at = path, float("-inf")

    def authorization(self) -> str | None:
        if time.monotonic() - self._read_at > TOKEN_FILE_KEPT_S:
            try:
                token = text_file.read(self._path).strip()
            except OSError as error:
                raise UsageError(f"cannot read the token file {self._path}: {error.strerror}") from None
            except text_file.NoTextError as error:
                raise UsageError(f"the token file {self._path} {error}") from None
            self._authorization, self._read_at = f"Bearer {token}", time.monotonic()
        return self._authorization

    def renew(self) -> bool:
        self._read_at = float("-inf")
        return True


class Plugin(Credentials):
    """An exec plugin; what it said is kept until it expires or a 401 comes."""

    def __init__(self, spec: Mapping[str, Any], context: Context):
        super().__init__()
        self._spec, self._context, self._lock = spec, context, threading.Lock()
        self._status: Mapping[str, Any] | None = None
        if spec.get("apiVersion") not in PLUGIN_VERSIONS:
            known = " and ".join(PLUGIN_VERSIONS)
            raise UsageError(
                f"the user's exec plugin has apiVersion {spec.get('apiVersion')!r}; known are {known}"
            )

    def authorization(self) -> str | None:
        token = self._current().get("token")
        return f"Bearer {token}" if token else None

    def certificate(self) -> tuple[str, str] | None:
        status = self._current()
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
        return (certificate, key) if certificate and key else None

    def renew(self) -> bool:
        with self._lock:
            self._status = None
        return True

    def _current(self) -> Mapping[str, Any]:
        with self._lock:
            if self._status is None or _expired(self._status):
                self._status = self._run()
            return self._status

    def _run(self) -> Mapping[str, Any]:
        command = self._command()
        interactive = (
            self._spec.get("interactiveMode") != "Never" and sys.stdin is not None and sys.stdin.isatty()
        )
        try:
            done = subprocess.run(
                [command, *map(str, self._spec.get("args") or [])],
                env=self._environ(interactive),
                stdin=None if interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=None if interactive else subprocess.PIPE,
                timeout=None if interactive else PLUGIN_LIMIT_S,
                check=False,
            )
        except OSError as error:
            hint = self._spec.get("installHint") or "install it, or name another context"
            raise UsageError(
                f"cannot run the user's exec plugin {command!r} ({error.strerror}): {hint}"
            ) from None
        except subprocess.TimeoutExpired:
            raise TargetError(
                f"the exec plugin {command!r} did not end within {PLUGIN_LIMIT_S:.0f} s"
            ) from None
        return self._answer(command, done)

    def _answer(self, command: str, done: subprocess.CompletedProcess[bytes]) -> Mapping[str, Any]:
        if done.returncode:
            said = (done.stderr or b"").decode(errors="replace").strip()[-300:]
            raise TargetError(
                f"the exec plugin {command!r} ended with code {done.returncode}: {said or 'it said nothing'}"
            )
        try:
            answer = json.loads(text_file.decoded(done.stdout))
            version, status = answer["apiVersion"], dict(answer["status"])
        except (ValueError, KeyError, TypeError):
            raise TargetError(
                f"the exec plugin {command!r} did not print an ExecCredential with a status"
            ) from None
        if version != self._spec["apiVersion"]:
            raise TargetError(
                f"the exec plugin {command!r} answered in {version}, not in {self._spec['apiVersion']}"
            )
        if not status.get("token") and not (
            status.get("clientCertificateData") and status.get("clientKeyData")
        ):
            raise TargetError(
                f"the exec plugin {command!r} gave neither a token nor a client certificate with its key"
            )
        return status

    def _command(self) -> str:
        command = str(self._spec.get("command") or "")
        if not command:
            raise UsageError("the user's exec plugin has no command")
        return str(self._context.user_folder / command) if os.sep in command else command

    def _environ(self, interactive: bool) -> dict[str, str]:
        spec: dict[str, Any] = {"interactive": interactive}
        if self._spec.get("provideClusterInfo"):
            spec["cluster"] = _cluster_info(self._context)
        info = {"apiVersion": self._spec["apiVersion"], "kind": "ExecCredential", "spec": spec}
        added = {str(item["name"]): str(item["value"]) for item in self._spec.get("env") or []}
        return {**os.environ, **added, "KUBERNETES_EXEC_INFO": json.dumps(info)}


class Provider(Credentials):
    """The older auth-provider (oidc, gcp), which the kubernetes package knows how to ask."""

    def __init__(self, context: Context):
        super().__init__()
        self._context = context
        self._asked = False

    def authorization(self) -> str | None:
        if not self._asked:
            self._authorization, self._asked = self._ask(), True
        return self._authorization

    def renew(self) -> bool:
        self._asked = False
        return True

    def _ask(self) -> str | None:
        from kubernetes import client
        from kubernetes import config as loaders

        one = {"name": "it", "cluster": dict(self._context.cluster)}
        entries: dict[str, Any] = {"current-context": "it", "clusters": [one]}
        entries["contexts"] = [{"name": "it", "context": {"cluster": "it", "user": "it"}}]
        entries["users"] = [{"name": "it", "user": dict(self._context.user)}]
        into = client.Configuration()
        try:
            ask: Any = loaders.load_kube_config_from_dict  # untyped in some releases
            ask(entries, client_configuration=into, persist_config=False)
        except Exception as error:  # any kind: it runs other people's libraries
            name = self._context.user["auth-provider"].get("name")
            raise TargetError(f"the auth-provider {name!r} gave no token: {error}") from error
        token = into.api_key.get("BearerToken") or into.api_key.get("authorization")
        return str(token) if token else None


def credentials_of(context: Context) -> Credentials:
    """What the user entry of a context asks for."""
    user = context.user
    if user.get("tokenFile"):
        return TokenFile(context.user_folder / str(user["tokenFile"]))
    if user.get("token"):
        return Credentials(f"Bearer {user['token']}")
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password') or ''}".encode()
        return Credentials("Basic " + base64.b64encode(pair).decode())
    if user.get("auth-provider"):
        return Provider(context)
    if user.get("exec"):
        return Plugin(user["exec"], context)
    return Credentials()


def impersonation(user: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Headers for the `as…` keys of a user entry."""
    headers = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
    headers += [("Impersonate-Uid", str(user["as-uid"]))] if user.get("as-uid") else []
    headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or []]
    for key, values in (user.get("as-user-extra") or {}).items():
        headers += [(f"Impersonate-Extra-{key}", str(value)) for value in values]
    return headers


def _expired(status: Mapping[str, Any]) -> bool:
    expiry_ns = parse_stamp(status.get("expirationTimestamp"))
    return expiry_ns is not None and expiry_ns / NS_PER_S - EXPIRY_MARGIN_S < time.time()


def _cluster_info(context: Context) -> dict[str, Any]:
    keys = (
        "server",
        "tls-server-name",
        "insecure-skip-tls-verify",
        "certificate-authority-data",
        "proxy-url",
    )
    info = {key: context.cluster[key] for key in keys if context.cluster.get(key)}
    if "certificate-authority" in context.cluster and "certificate-authority-data" not in info:
        data = (context.cluster_folder / context.cluster["certificate-authority"]).read_bytes()
        info["certificate-authority-data"] = base64.b64encode(data).decode()
    for extension in context.cluster.get("extensions") or []:
        if extension.get("name") == "client.authentication.k8s.io/exec":
            info["config"] = extension.get("extension")
    return info
