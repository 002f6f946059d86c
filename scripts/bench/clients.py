"""The three clients that accuracy and engine put side by side: each sends the same load and says what it saw."""

from __future__ import annotations

import compileall
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from simulated import Array, Truth, Use, Watched, simulator, truth_of

import vllmperf

INPUT_TOKENS = 16
WHEEL = "vllm==0.33.0"
ONE_READ_MS = 0.1
"""The server leaves at least 10 ms between two events: gaps below this are of events that came in one read."""


@dataclass(frozen=True)
class Load:
    """What is sent: streams held in a closed loop, or requests/s at even distances."""

    name: str
    requests: int
    tokens: int
    itl_ms: float
    streams: int | None = None
    rate: int | None = None
    ttft_ms: float = 50.0


LOADS = {
    "64": Load("64 streams", 64 * 6, 100, 20, streams=64),
    "200/s": Load("200 requests/s of 10 tokens", 2000, 10, 20, rate=200),
    "1000/s": Load("1,000 requests/s of 10 tokens", 8000, 10, 20, rate=1000),
    "1000": Load("1,000 streams", 4000, 100, 20, streams=1000),
    "100k": Load("1,000 streams at 100,000 events/s", 5000, 100, 10, streams=1000),
    "10000": Load("10,000 streams", 10_000, 10, 500, streams=10_000, ttft_ms=3000),
}
USUAL = "64,200/s,1000/s,1000,100k"


@dataclass(frozen=True)
class Reported:
    """What a client says; share: of the events that came in one read with another one."""

    ttft_mean_ms: float
    ttft_p99_ms: float
    itl_p99_ms: float
    share: float


@dataclass(frozen=True)
class Seen:
    """One run of one client."""

    reported: Reported
    truth: Truth
    use: Use
    is_whole: bool


# ---- a client: its command, and how to read what it leaves ----


def from_arrays(ttft_ms: Array, itl_ms: Array, share: float) -> Reported:
    return Reported(
        float(ttft_ms.mean()), float(np.percentile(ttft_ms, 99)), float(np.percentile(itl_ms, 99)), share
    )


class Bare:
    """An epoll loop in C that reads and stamps: the floor."""

    name = "bare reader"
    fine = (0,)

    def __init__(self, folder: Path) -> None:
        self._binary = folder / "bare_reader"
        source = Path(__file__).with_name("bare_reader.c")
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", self._binary, source], check=True)

    def command(self, load: Load, url: str, folder: Path) -> list[str | Path]:
        (folder / "request").write_bytes(_request(load))
        kind = ["closed", str(load.streams)] if load.streams else ["open", str(load.rate)]
        sizes = [str(load.requests), str(load.tokens)]
        return [self._binary, url.rsplit(":", 1)[1], *kind, *sizes, folder / "request", folder / "stamps"]

    def read(self, load: Load, folder: Path) -> Reported:
        stamps = np.fromfile(folder / "stamps", dtype=np.int64).reshape(load.requests, 1 + load.tokens) / 1e6
        shared = int((folder / "log").read_text())
        gaps = np.diff(stamps[:, 1:], axis=1).reshape(-1)
        return from_arrays(stamps[:, 1] - stamps[:, 0], gaps, shared / (load.requests * load.tokens))


def _request(load: Load) -> bytes:
    fields = {"model": "sim", "prompt": list(range(300, 300 + INPUT_TOKENS)), "max_tokens": load.tokens}
    more = {"stream": True, "ignore_eos": True, "stream_options": {"include_usage": True}}
    body = json.dumps(fields | more).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: sim\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def tokenizer(folder: Path) -> Path:
    """Writes a tokenizer of 128 words, as Hugging Face's library reads it."""
    folder.mkdir(exist_ok=True)
    vocabulary = {f"w{i}": i for i in range(128)}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"}
    file = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": model,
    }
    (folder / "tokenizer.json").write_text(json.dumps(file))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return folder


class VllmRs:
    """vLLM's own compiled client. It keeps every gap, as ours does, and sends token ids, as ours does."""

    name = "vllm-rs"
    fine = (0,)

    def __init__(self, folder: Path, binary: Path) -> None:
        self._binary = binary
        self._tokenizer = tokenizer(folder / "tokenizer")

    def command(self, load: Load, url: str, folder: Path) -> list[str | Path]:
        words = (
            f"bench serve --backend openai --base-url {url} --model sim --dataset-name random --ignore-eos"
        )
        words += f" --random-input-len {INPUT_TOKENS} --random-output-len {load.tokens} --prompt-token-ids"
        words += f" --num-prompts {load.requests} --save-result --save-detailed --result-filename result.json"
        words += _pace(load, " --burstiness 1000000")
        return [self._binary, *words.split(), "--result-dir", folder, "--tokenizer", self._tokenizer]

    def read(self, load: Load, folder: Path) -> Reported:
        result = json.loads((folder / "result.json").read_text())
        share = sum(_in_one_read(np.asarray(gaps) * 1e3) for gaps in result["itls"])
        return Reported(
            result["mean_ttft_ms"],
            result["p99_ttft_ms"],
            result["p99_itl_ms"],
            share / (load.requests * load.tokens),
        )


def _pace(load: Load, evenly: str) -> str:
    if load.streams:
        return f" --max-concurrency {load.streams}"
    return f" --request-rate {load.rate}{evenly}"


def _in_one_read(gaps_ms: Array) -> int:
    """Events of one stream that shared their read, told by gaps that the server never made."""
    is_tiny = np.concatenate([[False], gaps_ms < ONE_READ_MS, [False]])
    return int((is_tiny[1:] | is_tiny[:-1]).sum())


class Ours:
    """`vllmperf bench` with its own profile; the run file is kept. Like vllm-rs it is told the model and asks the server for
    no metrics."""

    name = "vllmperf"
    fine = (0, 1)  # 1: it does not trust its own figures

    def __init__(self) -> None:
        compileall.compile_dir(str(Path(vllmperf.__file__).parent), quiet=1)  # as pip does when it installs

    def command(self, load: Load, url: str, folder: Path) -> list[str | Path]:
        words = (
            f"-m vllmperf bench --base-url {url} --model sim --no-server-metrics --input-len {INPUT_TOKENS}"
        )
        words += f" --output-len {load.tokens} --num-prompts {load.requests}" + _pace(
            load, " --arrival constant"
        )
        return [sys.executable, *words.split(), "--record", folder / "run.vllmperf"]

    def read(self, load: Load, folder: Path) -> Reported:  # noqa: ARG002
        summary = vllmperf.open_run(folder / "run.vllmperf", trim=False).summary
        ttft, itl = summary["metrics"]["ttft_ms"], summary["metrics"]["itl_ms"]
        share = summary["client"]["coalesced_share"]
        assert ttft is not None and itl is not None and share is not None  # noqa: PT018
        return Reported(ttft["mean"], ttft["p99"], itl["p99"], share)


Client = Bare | VllmRs | Ours


def measure(client: Client, load: Load, folder: Path) -> Seen:
    """One run against a server of its own. Ends the program when the client fails."""
    folder.mkdir()
    with simulator(folder / "truth", load.ttft_ms, load.itl_ms) as url:
        process = Watched(client.command(load, url, folder), folder / "log")
    if process.exit_code not in client.fine:
        sys.exit(f"{client.name} failed ({process.exit_code}): {(folder / 'log').read_text()[-2000:]}")
    truth = truth_of(folder / "truth")
    is_whole = truth.events == load.requests * load.tokens
    return Seen(client.read(load, folder), truth, process.use(truth), is_whole)


# ---- where vllm-rs comes from ----


def fetch_vllm_rs(cache: Path, tell: Callable[[str], None]) -> Path | None:
    """The binary, downloaded once (320 MB, of which 60 stay). None, and a line that says why, when that fails."""
    binary = cache / "vllm-rs"
    if binary.exists():
        return binary
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(cache), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(cache.glob("vllm-*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no wheel for this machine"])[-1]
        tell(f"without vllm-rs: cannot download {WHEEL} ({last}); give --vllm-rs PATH")
        return None
    with zipfile.ZipFile(wheels[-1]) as wheel:
        binary.write_bytes(wheel.read("vllm/vllm-rs"))
    binary.chmod(0o755)
    wheels[-1].unlink()
    return binary
