"""The rights that vllmperf needs in a namespace, which one a request needs, and the RBAC for some of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource ("pods", "pods/log") of an API group ("" is the core)."""

    verb: str
    resource: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f".{self.group}" if self.group else "")


@dataclass(frozen=True)
class Need:
    """What a feature needs. `feature` is the name that `kube check --for` takes."""

    feature: str
    why: str
    rights: tuple[Right, ...]


NEEDS = (
    Need(
        "startup",
        "find pods, watch them start, read their logs and events",
        (
            Right("get", "pods"),
            Right("list", "pods"),
            Right("watch", "pods"),
            Right("get", "pods/log"),
            Right("list", "events"),
        ),
    ),
    Need(
        "deployment",
        "find the pods of --deployment",
        (Right("get", "deployments", "apps"), Right("list", "replicasets", "apps")),
    ),
    Need("scale", "--scale", (Right("patch", "deployments/scale", "apps"),)),
    Need("restart", "--restart", (Right("patch", "deployments", "apps"),)),
    Need(
        "probe",
        "--probe-first-token and --sleep-wake through the API server",
        (Right("get", "pods/proxy"), Right("create", "pods/proxy")),
    ),
    Need("clean", "vllmperf kube clean", (Right("list", "pods"), Right("delete", "pods"))),
)
FEATURES = tuple(need.feature for need in NEEDS)
NAME = "vllmperf"
"""Of the Role and its binding."""

_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def right_of(method: str, path: str, watching: bool = False) -> tuple[Right, str | None] | None:
    """The right that a request needs, and its namespace; None for a path that is no resource."""
    found = _PATH.match(path)
    if found is None:
        return None
    reading = "get" if found["name"] else "watch" if watching else "list"
    resource = found["plural"] + (f"/{found['sub']}" if found["sub"] else "")
    return Right(_VERBS.get(method, reading), resource, found["group"] or ""), found["namespace"]


def needed(features: Iterable[str] = FEATURES) -> list[Right]:
    """The rights of some features, each once, in the order of the table."""
    wanted = set(features)
    return list(dict.fromkeys(right for need in NEEDS if need.feature in wanted for right in need.rights))


def rbac_yaml(missing: Iterable[Right], namespace: str, user: str | None) -> str:
    """A Role with these rights, and the RoleBinding to the user when it is known, for `kubectl apply -f -`."""
    rules: dict[tuple[str, str], list[str]] = {}
    for right in sorted(set(missing), key=lambda right: (right.group, right.resource, right.verb)):
        rules.setdefault((right.group, right.resource), []).append(right.verb)
    meta = f"metadata:\n  name: {NAME}\n  namespace: {json.dumps(namespace)}\n"
    lines = [f"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n{meta}rules:\n"]
    for (group, resource), verbs in rules.items():
        lines.append(
            f'  - apiGroups: ["{group}"]\n    resources: ["{resource}"]\n    verbs: {json.dumps(verbs)}\n'
        )
    if user is None:
        bind = f"kubectl -n {namespace} create rolebinding {NAME} --role {NAME} --user NAME"
        return (
            "".join(lines) + f"# the API server does not say who you are; bind the role by hand:\n# {bind}\n"
        )
    lines.append(f"---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n{meta}")
    lines.append(
        f"roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {NAME}}}\nsubjects:\n  - {_subject(user)}\n"
    )
    return "".join(lines)


def _subject(user: str) -> str:
    account = re.fullmatch(r"system:serviceaccount:([^:]+):([^:]+)", user)
    if account:
        return (
            f"{{kind: ServiceAccount, name: {json.dumps(account[2])}, namespace: {json.dumps(account[1])}}}"
        )
    return f"{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {json.dumps(user)}}}"
