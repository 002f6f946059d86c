"""Which cluster, as which user: the kubeconfig files, or the service account of the pod we run in.

The kubernetes package reads and merges the files; here is which ones, which context of them, and what is wrong with them.
Its `current-context` is that of the last file; that of kubectl and ours is that of the first that has one
(kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig): else `kube clean` may meet the wrong cluster.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vllmperf.errors import UsageError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT = "~/.kube/config"

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Context:
    """A cluster and a user, as their kubeconfig entries. `load_into(configuration)` has the package read the files
    and ask plugins, and fills its Configuration."""

    name: str
    namespace: str
    cluster: Entry
    user: Entry
    load_into: Callable[[Any], None]


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
        return _of_files([path], context)
    listed = [Path(part).expanduser() for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    paths = [path for path in listed or [Path(DEFAULT).expanduser()] if path.is_file()]
    if paths:
        return _of_files(paths, context)
    if in_cluster(environ):
        return _service_account(environ)
    where = (
        f"none of KUBECONFIG={environ['KUBECONFIG']} is there"
        if listed
        else f"KUBECONFIG is not set, {DEFAULT} is not there"
    )
    raise UsageError(f"no kubeconfig: {where}; name one with --config")


def in_cluster(environ: Entry) -> bool:
    """Whether we run in a pod with a service account."""
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (SERVICE_ACCOUNT / "token").is_file()


@dataclass(frozen=True)
class _Merged:
    """What some files say: entries by name."""

    source: str
    current: str
    contexts: Mapping[str, Entry]
    clusters: Mapping[str, Entry]
    users: Mapping[str, Entry]


def _of_files(paths: list[Path], wanted: str | None) -> Context:
    files = _merged(os.pathsep.join(map(str, paths)))
    known, name = ", ".join(sorted(files.contexts)) or "none", wanted or files.current
    if not name:
        raise UsageError(f"{files.source} has no current context; choose one with --context: {known}")
    if name not in files.contexts:
        raise UsageError(f"{files.source} has no context {name!r}; it has: {known}")
    entry = files.contexts[name]
    cluster = _member(files.clusters, entry, "cluster", f"context {name!r} of {files.source}")
    user = _member(files.users, entry, "user", f"context {name!r} of {files.source}")
    if not _is_url(str(cluster.get("server") or "")):
        raise UsageError(
            f"{files.source}: the server of context {name!r} is {cluster.get('server')!r}, not a URL"
        )
    return Context(
        name, entry.get("namespace") or "default", cluster, user, partial(_load, files.source, name)
    )


def _member(entries: Mapping[str, Entry], context: Entry, kind: str, whose: str) -> Entry:
    wanted = str(context.get(kind) or "")
    if not wanted and kind == "user":
        return {}
    if wanted not in entries:
        raise UsageError(f"{whose} names the {kind} {wanted!r}, which is not there")
    return entries[wanted]


def _merged(source: str) -> _Merged:
    try:
        merger = _merger(source)
        each = merger.config_files.values()
        current = next((str(one["current-context"]) for one in each if one.get("current-context")), "")
        plurals = ("contexts", "clusters", "users")
        return _Merged(source, current, *(_entries(merger.config, plural) for plural in plurals))
    except Exception as error:  # any kind: the package takes the files for well-formed
        raise UsageError(f"{source} is not a kubeconfig: {' '.join(str(error).split())}") from None


def _merger(source: str) -> Any:
    from kubernetes.config import kube_config

    merge: Any = kube_config.KubeConfigMerger  # untyped
    return merge(source)


def _entries(config: Any, plural: str) -> dict[str, Entry]:
    """By name; what is no mapping counts as an empty one."""
    found = {str(one["name"]): one.value.get(plural.removesuffix("s")) for one in config.value[plural]}
    return {name: entry if isinstance(entry, dict) else {} for name, entry in found.items()}


def _load(source: str, name: str, configuration: Any) -> None:
    from kubernetes.config import kube_config

    make: Any = kube_config.KubeConfigLoader  # untyped
    # config_base_path None: paths start from the folder of the file that names them
    loader = make(config_dict=_merger(source).config, active_context=name, config_base_path=None)
    loader.load_and_set(configuration)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _service_account(environ: Entry) -> Context:
    from kubernetes.config.incluster_config import InClusterConfigLoader

    token, authority = SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt"
    make: Any = InClusterConfigLoader  # untyped
    loader = make(token_filename=str(token), cert_filename=str(authority), environ=environ)
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    try:
        namespace = (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        namespace = "default"
    return Context(
        "in-cluster", namespace, {"server": server}, {"tokenFile": str(token)}, loader.load_and_set
    )
