"""The arguments of `vllmperf startup`: those of vllm-serverStartupLatency.py, and ours."""

from __future__ import annotations

import argparse
from pathlib import Path

from vllmperf.cli.flags import settings
from vllmperf.cli.target_arguments import add_access
from vllmperf.starts.live.measurement import SETTINGS, Measurement


def add_cluster(parser: argparse.ArgumentParser) -> None:
    option = settings(parser.add_argument_group("pods of a cluster").add_argument)
    option(
        "-cfg",
        "--config",
        metavar="FILE",
        help="kubeconfig (default: $KUBECONFIG, else ~/.kube/config, as for kubectl)",
    )
    option("-ctx", "--context", metavar="NAME", help="context of the kubeconfig (default: its current one)")
    option("-n", "--namespace", metavar="NAME", help="namespace of the pods (default: default)")
    option("-l", "--label", metavar="SELECTOR", help="label selector of the pods, such as app=vllm")
    option(
        "-c",
        "--containername",
        metavar="NAME",
        help="container of the server (default: found by its command, image or port)",
    )
    option("--deployment", metavar="NAME", help="measure the pods of this Deployment instead of those of -l")
    option(
        "--watch", action="store_true", help="wait for pods to appear and become ready, with a live waterfall"
    )
    option(
        "--scale",
        type=int,
        metavar="N",
        help="cause starts: scale the Deployment to 0, then to N, and restore its replicas at the end",
    )
    option("--restart", action="store_true", help="cause starts: restart the rollout of the Deployment")
    option(
        "--probe-first-token",
        action="store_true",
        help="ask for /health and a first token, through the proxy of the API server or --url",
    )
    option(
        "--grace",
        metavar="TIME",
        help="a pod that stays unschedulable for longer has failed (default: 30s)",
    )


def add_command(parser: argparse.ArgumentParser) -> None:
    option = settings(parser.add_argument_group("a command, without a cluster").add_argument)
    option(
        "--command",
        default=None,
        metavar="COMMAND",
        dest="server",
        help='start this server, such as "vllm serve MODEL"',
    )
    option(
        "--cold",
        action="store_true",
        help="empty the caches of compiled code before each start; weights stay",
    )
    option(
        "--warm",
        action="store_true",
        help="start with filled caches; with --cold, measure and compare both sets",
    )
    option("--cache-dir", type=Path, metavar="DIR", help="keep these caches here (default: delete them)")
    option(
        "--no-first-token",
        dest="probe_first_token",
        action="store_false",
        help="end a start when /health answers 200, without asking for a token",
    )
    option("--echo", action="store_true", help="show the server's output on stderr")
    option("--stop-timeout", metavar="TIME", help="send SIGKILL this long after SIGTERM (default: 30s)")


def add_both(parser: argparse.ArgumentParser) -> None:
    from vllmperf.formats.startup_txt import LAYOUTS

    parser.add_argument("-m", "--model", metavar="NAME", help="model name for the name of the .txt file")
    parser.add_argument(
        "--model-cached",
        choices=("yes", "no"),
        default="no",
        metavar="yes|no",
        help="yes if the weights were on the node already: the load time of the .txt file then begins at `Starting to load "
        "model` (default: no)",
    )
    parser.add_argument(
        "--layout",
        choices=tuple(LAYOUTS),
        default="D",
        metavar="NAME",
        help=f"columns of the .txt file: {', '.join(LAYOUTS)} (default: D)",
    )
    option = settings(parser.add_argument)
    option(
        "-o",
        "--output",
        metavar="DEST",
        help="write MODEL_vllm-server-startup-latency.txt, the logs, JSON, CSV and HTML to DEST, a folder or s3://BUCKET/PREFIX",
    )
    option(
        "--log-timestamps",
        action="store_true",
        help="keep the time stamps of the collector in the logs that --output writes",
    )
    option("--repeat", type=int, metavar="K", help="measure this many starts (default: 1)")
    option(
        "--timeout",
        metavar="TIME",
        help="give up a start after this time (default: 30m)",
    )
    option(
        "--url",
        metavar="URL",
        help="ask this URL for /health and tokens; vllmperf replaces {pod_ip} and {pod}",
    )
    option(
        "--sleep-wake",
        type=int,
        nargs="?",
        const=1,
        metavar="N",
        help="after the start, put the server to sleep and wake it up N times (default: 1)",
    )
    add_access(parser.add_argument_group("requests to the server").add_argument)
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def measurement(args: argparse.Namespace) -> Measurement:
    """What the arguments ask for. Raises SettingError for those that contradict each other or name nothing to measure."""
    given = {name: value for name, value in vars(args).items() if name in SETTINGS}
    return Measurement.of({**given, "command": args.server})
