"""The arguments of `vllmperf startup`: those of vllm-serverStartupLatency.py, and ours."""

from __future__ import annotations

import argparse
from pathlib import Path

from vllmperf.cli.bench_arguments import duration, pair
from vllmperf.errors import UsageError

TIMEOUT_S = 1800.0
GRACE_S = 30.0

CLUSTER_ONLY = {
    "config": "--config",
    "context": "--context",
    "label": "--label",
    "containername": "--containername",
    "namespace": "--namespace",
    "deployment": "--deployment",
    "scale": "--scale",
    "restart": "--restart",
    "watch": "--watch",
    "probe_first_token": "--probe-first-token",
    "grace": "--grace",
}
COMMAND_ONLY = {
    "cold": "--cold",
    "warm": "--warm",
    "cache_dir": "--cache-dir",
    "stop_timeout": "--stop-timeout",
    "no_first_token": "--no-first-token",
    "echo": "--echo",
}


def add_cluster(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pods of a cluster")
    group.add_argument(
        "-cfg",
        "--config",
        metavar="FILE",
        help="kubeconfig; None: $KUBECONFIG (default: as kubectl finds it)",
    )
    group.add_argument("-ctx", "--context", metavar="NAME", help="context of the kubeconfig")
    group.add_argument("-n", "--namespace", metavar="NAME", help="namespace of the pods (default: default)")
    group.add_argument(
        "-l", "--label", metavar="SELECTOR", help="label selector of the pods, such as app=vllm"
    )
    group.add_argument(
        "-c",
        "--containername",
        metavar="NAME",
        help="the server's container (default: by command, image or port)",
    )
    group.add_argument("--deployment", metavar="NAME", help="the pods of a Deployment, instead of -l")
    group.add_argument(
        "--watch", action="store_true", help="wait for pods to appear and become ready, with a live waterfall"
    )
    group.add_argument(
        "--scale",
        type=_count,
        metavar="N",
        help="cause starts: scale the deployment to 0, then to N; put back after",
    )
    group.add_argument(
        "--restart", action="store_true", help="cause starts: restart the deployment's rollout"
    )
    group.add_argument(
        "--probe-first-token",
        action="store_true",
        help="ask /health and for a first token, through the API server's proxy or --url",
    )
    group.add_argument(
        "--grace",
        type=duration,
        metavar="TIME",
        help=f"how long a pod may be unschedulable before it has failed (default: {GRACE_S:g}s)",
    )


def add_command(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a command, without a cluster")
    group.add_argument(
        "--command", metavar="COMMAND", dest="server", help='start this, such as "vllm serve MODEL"'
    )
    group.add_argument(
        "--cold", action="store_true", help="each start with empty caches of compiled code (weights stay)"
    )
    group.add_argument(
        "--warm", action="store_true", help="starts with filled caches; with --cold both sets, compared"
    )
    group.add_argument(
        "--cache-dir", type=Path, metavar="DIR", help="keep those caches here (default: deleted)"
    )
    group.add_argument("--no-first-token", action="store_true", help="end at the first 200 on /health")
    group.add_argument("--echo", action="store_true", help="show the server's output on stderr")
    group.add_argument(
        "--stop-timeout", type=duration, metavar="TIME", help="SIGKILL this long after SIGTERM (default: 30s)"
    )


def add_both(parser: argparse.ArgumentParser) -> None:
    from vllmperf.formats.startup_txt import LAYOUTS

    parser.add_argument("-m", "--model", metavar="NAME", help="model name in the name of the .txt file")
    parser.add_argument(
        "--model-cached",
        choices=("yes", "no"),
        default="no",
        metavar="yes|no",
        help="weights were on the node already: the .txt's load time begins at `Starting to load model` (default: no)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="write MODEL_vllm-server-startup-latency.txt and the logs here",
    )
    parser.add_argument(
        "--layout",
        choices=tuple(LAYOUTS),
        default="D",
        metavar="NAME",
        help=f"columns of the .txt file: {', '.join(LAYOUTS)} (default: D)",
    )
    parser.add_argument(
        "--log-timestamps", action="store_true", help="keep the collector's time stamps in the written logs"
    )
    parser.add_argument("--repeat", type=_count, metavar="K", help="so many starts (default: 1)")
    parser.add_argument(
        "--timeout",
        type=duration,
        default=TIMEOUT_S,
        metavar="TIME",
        help="give up a start after this time (default: 30m)",
    )
    parser.add_argument(
        "--url", metavar="URL", help="where to ask /health and for tokens; {pod_ip} and {pod} are filled in"
    )
    parser.add_argument(
        "--sleep-wake",
        type=_count,
        nargs="?",
        const=1,
        default=0,
        metavar="N",
        help="after the start, put it to sleep and wake it up N times (default: 1)",
    )
    parser.add_argument(
        "--api-key", metavar="KEY", help="sent as a bearer token (--command: default its own)"
    )
    parser.add_argument(
        "--header",
        type=pair,
        nargs="+",
        action="extend",
        default=[],
        metavar="K=V",
        help="extra headers of these questions, repeatable",
    )
    parser.add_argument(
        "--cacert", metavar="FILE", help="PEM file of certificates to trust at an https --url"
    )
    parser.add_argument("--insecure", action="store_true", help="accept any TLS certificate there")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def check(args: argparse.Namespace) -> None:
    """Raises UsageError for arguments that contradict each other or name nothing to measure."""
    if args.server is not None:
        _refuse(args, CLUSTER_ONLY, "is for pods of a cluster, --command is not: leave one of them out")
        return
    _refuse(args, COMMAND_ONLY, "is for --command alone")
    if not args.label and not args.deployment:
        raise UsageError(
            "nothing says what to measure: give -l SELECTOR, --deployment NAME or --command COMMAND"
        )
    if args.label and args.deployment:
        raise UsageError("--label and --deployment both choose pods: give one of them")
    causes = args.scale is not None or args.restart
    if args.scale is not None and args.restart:
        raise UsageError("--scale and --restart both cause starts: give one of them")
    if causes and not args.deployment:
        raise UsageError(f"{'--restart' if args.restart else '--scale'} needs --deployment NAME")
    if args.repeat is not None and not causes:
        raise UsageError("--repeat needs --scale, --restart or --command: something has to cause the starts")
    if args.url and not (args.probe_first_token or args.sleep_wake):
        raise UsageError("--url is for --probe-first-token, --sleep-wake or --command")


def _refuse(args: argparse.Namespace, names: dict[str, str], why: str) -> None:
    for name, flag in names.items():
        if getattr(args, name) not in (None, False):
            raise UsageError(f"{flag} {why}")


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return value
