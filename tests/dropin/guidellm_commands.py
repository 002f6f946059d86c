"""Commands of guidellm against the simulator, for its tests."""

from vllmperf.cli import main as vllmperf
from vllmperf.formats import guidellm_file
from vllmperf.sim import Server

FAST = {"ttft_ms": 3, "itl_ms": 1}
ONCE = "--rate-type synchronous --max-requests 1 --disable-progress --disable-console-outputs"
DATA = "prompt_tokens=16,output_tokens=6"


def words(url, more, path, data=DATA):
    return [
        "guidellm",
        "benchmark",
        "--target",
        url,
        "--data",
        data,
        "--output-path",
        str(path),
        *more.split(),
    ]


def run(tmp_path, more, name="out.json", data=DATA, **settings):
    """(exit code, report or None) of a run against a simulator with these settings."""
    path = tmp_path / name
    with Server(**{**FAST, **settings}) as server:
        code = vllmperf(words(server.url, more, path, data))
    return code, (guidellm_file.load(path) if path.exists() and path.suffix == ".json" else None)


def only(report):
    (found,) = report["benchmarks"]
    return found
