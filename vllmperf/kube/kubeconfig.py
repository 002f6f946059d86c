"""Which cluster, as which user: kubeconfig files merged as kubectl does, or the service account of the pod we run in.

Source of the rules: kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vllmperf import text_file
from vllmperf.errors import UsageError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT = "~/.kube/config"

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Context:
    """A cluster and a user, as their kubeconfig entries; `…_folder` is what relative paths in them start from."""

    name: str
    namespace: str
    cluster: Entry
    user: Entry
    cluster_folder: Path = field(default_factory=Path)
    user_folder: Path = field(default_factory=Path)


def load(config: str | None = None, context: str | None = None, environ: Entry = os.environ) -> Context:
    """The context to use.

    `config` is a file; None, "" or "None" means the files of KUBECONFIG, else ~/.kube/config, else, inside a pod, its
    service account. Raises UsageError: no such file, not a kubeconfig, no such context (the known ones are listed).
    """
    if config and config != "None":
        path = Path(config).expanduser()
        if not path.is_file():
            raise UsageError(
                f"no kubeconfig {path}; --config None uses KUBECONFIG, ~/.kube/config or the pod's own account"
            )
        return _choose(merge([path]), context, str(path))
    listed = [Path(part).expanduser() for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    paths = [path for path in listed or [Path(DEFAULT).expanduser()] if path.is_file()]
    if paths:
        return _choose(merge(paths), context, os.pathsep.join(map(str, paths)))
    if in_cluster(environ):
        return _service_account(environ)
    where = (
        f"none of KUBECONFIG={environ['KUBECONFIG']} is there"
        if listed
        else f"KUBECONFIG is not set, {DEFAULT} is not there"
    )
    raise UsageError(f"no kubeconfig: {where}; name one with --config")


@dataclass(frozen=True)
class Merged:
    """Entries by name, each with the folder of its file. The first file that names a thing wins."""

    current: str
    contexts: Mapping[str, tuple[Entry, Path]]
    clusters: Mapping[str, tuple[Entry, Path]]
    users: Mapping[str, tuple[Entry, Path]]


def merge(paths: list[Path]) -> Merged:
    """Reads and merges kubeconfig files, first wins."""
    files = [(_read(path), path.absolute().parent) for path in paths]
    current = next((str(data["current-context"]) for data, _ in files if data.get("current-context")), "")
    return Merged(current, *(_entries(files, plural) for plural in ("contexts", "clusters", "users")))


def in_cluster(environ: Entry = os.environ) -> bool:
    """Whether we run in a pod with a service account."""
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (SERVICE_ACCOUNT / "token").is_file()


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.load(text_file.read(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise UsageError(f"cannot read kubeconfig {path}: {error.strerror}") from None
    except (yaml.YAMLError, text_file.NoTextError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{path} is not a kubeconfig: {said}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{path} is not a kubeconfig: it holds a {type(data).__name__}, not a mapping")
    return data


def _entries(files: list[tuple[dict[str, Any], Path]], plural: str) -> dict[str, tuple[Entry, Path]]:
    found: dict[str, tuple[Entry, Path]] = {}
    for data, folder in files:
        for entry in data.get(plural) or []:
            if not isinstance(entry, dict) or "name" not in entry:
                raise UsageError(f"a kubeconfig in {folder} has one of its {plural} without a name")
            found.setdefault(str(entry["name"]), (entry.get(plural.removesuffix("s")) or {}, folder))
    return found


def _choose(merged: Merged, wanted: str | None, source: str) -> Context:
    known = ", ".join(sorted(merged.contexts)) or "none"
    name = wanted or merged.current
    if not name:
        raise UsageError(f"{source} has no current context; choose one with --context: {known}")
    if name not in merged.contexts:
        raise UsageError(f"{source} has no context {name!r}; it has: {known}")
    entry, _ = merged.contexts[name]
    cluster, cluster_folder = _member(merged.clusters, entry, "cluster", name, source)
    user, user_folder = _member(merged.users, entry, "user", name, source)
    if not _is_url(str(cluster.get("server") or "")):
        raise UsageError(f"{source}: the server of context {name!r} is {cluster.get('server')!r}, not a URL")
    return Context(name, entry.get("namespace") or "default", cluster, user, cluster_folder, user_folder)


def _member(
    entries: Mapping[str, tuple[Entry, Path]], context: Entry, kind: str, name: str, source: str
) -> tuple[Entry, Path]:
    wanted = str(context.get(kind) or "")
    if not wanted and kind == "user":
        return {}, Path()
    if wanted not in entries:
        raise UsageError(f"context {name!r} of {source} names the {kind} {wanted!r}, which is not there")
    return entries[wanted]


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _service_account(environ: Entry) -> Context:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT") or "443"
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    cluster = {"server": server, "certificate-authority": str(SERVICE_ACCOUNT / "ca.crt")}
    user = {"tokenFile": str(SERVICE_ACCOUNT / "token")}
    try:
        namespace = text_file.read(SERVICE_ACCOUNT / "namespace").strip()
    except (OSError, text_file.NoTextError):
        namespace = "default"
    return Context("in-cluster", namespace, cluster, user)
