"""Find out which rights are missing in the cluster, and delete the pods of an experiment."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from vllmperf.errors import UsageError

if TYPE_CHECKING:
    from vllmperf.kube import Cluster
    from vllmperf.kube.rights import Right

MISSING = 1
DECLINED = 1


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("kube", help="check rights in a cluster, delete pods", description=__doc__)
    commands = parser.add_subparsers(dest="kube_command", metavar="check|clean", required=True)
    _add_check(commands)
    _add_clean(commands)


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """-cfg, -ctx, -n: the same for every command that talks to a cluster."""
    parser.add_argument(
        "-cfg",
        "--config",
        metavar="FILE",
        help="kubeconfig (default: $KUBECONFIG, else ~/.kube/config, else the service account of this pod)",
    )
    parser.add_argument(
        "-ctx", "--context", metavar="NAME", help="context of the kubeconfig (default: its current one)"
    )
    parser.add_argument("-n", "--namespace", metavar="NAME", help="namespace (default: that of the context)")


def run(args: argparse.Namespace) -> int:
    from vllmperf.kube import connect

    with connect(args.config, args.context) as cluster:
        namespace = args.namespace or cluster.namespace
        if args.kube_command == "check":
            return _check(cluster, namespace, args.features, args.rbac)
        return _clean(cluster, namespace, args.label, args.dry_run, args.yes)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from vllmperf.kube.rights import FEATURES

    parser = commands.add_parser(
        "check",
        help="ask for each right that vllmperf needs, print the RBAC for what is missing",
        description="Asks the API server for each right that vllmperf needs, and prints a Role and RoleBinding with what "
        "is missing; an administrator can pipe them into `kubectl apply -f -`. The exit code is 1 when something is missing.",
    )
    add_cluster_arguments(parser)
    parser.add_argument(
        "--for",
        dest="features",
        metavar="NAMES",
        type=_features,
        default=list(FEATURES),
        help=f"check only what these need, such as startup,probe (all: {','.join(FEATURES)})",
    )
    parser.add_argument("--rbac", action="store_true", help="print only the RBAC, for kubectl apply -f -")
    parser.set_defaults(run=run)


def _add_clean(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "clean",
        help="delete the pods that have a label",
        description="Deletes the pods with a label, as `kubectl -n NAMESPACE delete pods -l LABEL` does. A Deployment "
        "makes new ones: scale it to 0 or delete it to get rid of them.",
    )
    add_cluster_arguments(parser)
    parser.add_argument(
        "-l", "--label", metavar="SELECTOR", required=True, help="label selector such as app=vllm"
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would be deleted")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=run)


def _features(text: str) -> list[str]:
    from vllmperf.kube.rights import FEATURES

    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in FEATURES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{text!r}: known are {', '.join(FEATURES)}")
    return names


def _check(cluster: Cluster, namespace: str, features: list[str], only_rbac: bool) -> int:
    from vllmperf.kube import access, rights

    user = access.user_name(cluster)
    allowed = access.check(cluster, namespace, rights.needed(features))
    missing = [right for right, yes in allowed.items() if not yes]
    if not only_rbac:
        who = user or "a user that it does not name"
        print(f"{cluster.server} (context {cluster.name}), namespace {namespace}, as {who}")
        _print_answers(allowed, features)
        how = "apply this, as somebody who may, with `kubectl apply -f -`"
        print(f"\n# {len(missing)} missing: {how}" if missing else "\nnothing is missing")
    if missing:
        print(rights.rbac_yaml(missing, namespace, user), end="")
    return MISSING if missing else 0


def _print_answers(allowed: dict[Right, bool], features: list[str]) -> None:
    from vllmperf.kube.rights import NEEDS

    for need in NEEDS:
        if need.feature in features:
            print(f"\n{need.feature}: {need.why}")
            for right in need.rights:
                print(f"  {'yes' if allowed[right] else 'NO ':3}  {right}")


def _clean(cluster: Cluster, namespace: str, selector: str, dry_run: bool, sure: bool) -> int:
    from vllmperf.kube import workloads

    if not selector.strip():
        raise UsageError("an empty --label would delete every pod of the namespace")
    pods = cluster.list_pods(namespace, selector)
    names = [str(pod["metadata"]["name"]) for pod in pods]
    if not names:
        print(f"no pods with {selector} in namespace {namespace}")
        return 0
    if dry_run:
        print(
            f"would delete {len(names)} pods with {selector} in namespace {namespace} of context {cluster.name}:"
        )
        print("\n".join(f"  {name}" for name in names))
        return 0
    if not sure and not _agreed(cluster, namespace, selector, names):
        print("nothing deleted")
        return DECLINED
    for name in workloads.delete_pods(cluster, pods):
        print(f'pod "{name}" deleted')
    return 0


def _agreed(cluster: Cluster, namespace: str, selector: str, names: list[str]) -> bool:
    """Asks on the terminal. Without one nobody can answer, and deleting is not the safe guess."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            f"{len(names)} pods have {selector}; without a terminal to ask on, deleting them needs --yes"
        )
    print("\n".join(f"  {name}" for name in names))
    question = f"delete these {len(names)} pods of namespace {namespace} (context {cluster.name})? [y/N] "
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False
