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
        help="kubeconfig; None: $KUBECONFIG (default: as kubectl finds it)",
    )
    option("-ctx", "--context", metavar="NAME", help="context of the kubeconfig")
    option("-n", "--namespace", metavar="NAME", help="namespace of the pods (default: default)")
    option("-l", "--label", metavar="SELECTOR", help="label selector of the pods, such as app=vllm")
    option(
        "-c",
        "--containername",
        metavar="NAME",
        help="the server's container (default: by command, image or port)",
    )
    option("--deployment", metavar="NAME", help="the pods of a Deployment, instead of -l")
    option(
        "--watch", action="store_true", help="wait for pods to appear and become ready, with a live waterfall"
    )
    option(
        "--scale",
        type=int,
        metavar="N",
        help="cause starts: scale the deployment to 0, then to N; put back after",
    )
    option("--restart", action="store_true", help="cause starts: restart the deployment's rollout")
    option(
        "--probe-first-token",
        action="store_true",
        help="ask /health and for a first token, through the API server's proxy or --url",
    )
    option(
        "--grace",
        metavar="TIME",
        help="how long a pod may be unschedulable before it has failed (default: 30s)",
    )


def add_command(parser: argparse.ArgumentParser) -> None:
    option = settings(parser.add_argument_group("a command, without a cluster").add_argument)
    option(
        "--command",
        default=None,
        metavar="COMMAND",
        dest="server",
        help='start this, such as "vllm serve MODEL"',
    )
    option("--cold", action="store_true", help="each start with empty caches of compiled code (weights stay)")
    option("--warm", action="store_true", help="starts with filled caches; with --cold both sets, compared")
    option("--cache-dir", type=Path, metavar="DIR", help="keep those caches here (default: deleted)")
    option(
        "--no-first-token",
        dest="probe_first_token",
        action="store_false",
        help="end at the first 200 on /health",
    )
    option("--echo", action="store_true", help="show the server's output on stderr")
    option("--stop-timeout", metavar="TIME", help="SIGKILL this long after SIGTERM (default: 30s)")


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
        "--log-timestamps", action="store_true", help="keep the collector's time stamps in the written logs"
    )
    option("--repeat", type=int, metavar="K", help="so many starts (default: 1)")
    option(
        "--timeout",
        metavar="TIME",
        help="give up a start after this time (default: 30m)",
    )
    option(
        "--url", metavar="URL", help="where to ask /health and for tokens; {pod_ip} and {pod} are filled in"
    )
    option(
        "--sleep-wake",
        type=int,
        nargs="?",
        const=1,
        metavar="N",
        help="after the start, put it to sleep and wake it up N times (default: 1)",
    )
    add_access(parser.add_argument_group("how the server is asked").add_argument)
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def measurement(args: argparse.Namespace) -> Measurement:
    """What the arguments ask for. Raises SettingError for those that contradict each other or name nothing to measure."""
    given = {name: value for name, value in vars(args).items() if name in SETTINGS}
    return Measurement.of({**given, "command": args.server})
