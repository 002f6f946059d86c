"""Starts told apart in one file, whatever begins them; and what comes after a start, which does not rewrite it."""

import json

import pytest
from parse_texts import config, log_of, parsed, said

from vllmperf.starts.result import StartupLog

API, ENGINE = "(APIServer pid=1)", "(EngineCore pid=67)"


def start(begin: str, at: str = "08:00", api: int = 1, engine: int = 67, end: str = "ready") -> str:
    """A short start at an hour and minute: `begin` is what the server says first."""
    server, core = f"(APIServer pid={api})", f"(EngineCore pid={engine})"
    text = f"{server} INFO 06-21 {at}:00 [api_utils.py:1] {begin}\n" if begin else ""
    text += (
        f"{core} INFO 06-21 {at}:05 [core.py:1] Initializing a V1 LLM engine (v0.25.0) with config: {config()}\n"
        f"{core} INFO 06-21 {at}:06 [gpu_model_runner.py:1] Starting to load model org/model...\n"
    )
    if end == "failed":
        return text + (
            f"{core} ERROR 06-21 {at}:09 [core.py:1] EngineCore failed to start.\n"
            f"{core} ERROR 06-21 {at}:09 [core.py:1] ValueError: at {at}\n"
            f"{server} RuntimeError: Engine core initialization failed. See root cause above.\n"
        )
    text += (
        f"{core} INFO 06-21 {at}:16 [default_loader.py:1] Loading weights took 9.87 seconds\n"
        f"{core} INFO 06-21 {at}:17 [gpu_model_runner.py:1] Model loading took 14.10 GiB memory and 11.21 seconds\n"
        f"{core} INFO 06-21 {at}:30 [core.py:1] init engine (profile, create kv cache, warmup model) took 12.50 s\n"
    )
    return text + (f"{server} INFO:     Application startup complete.\n" if end == "ready" else "")


LOGO = " ▄▄ ▄█ █     █     █ ▀▄▀ █  version 0.25.0"
PLAIN = "vLLM server version 0.25.0, serving model org/model"
OLD = "vLLM API server version 0.25.0"
ARGS = "non-default args: {'model': 'org/model'}"
ALL_ARGS = "args: Namespace(model='org/model', tensor_parallel_size=1)"


@pytest.mark.parametrize("second", [LOGO, PLAIN, OLD, ARGS, ALL_ARGS, ""])
@pytest.mark.parametrize("first", [LOGO, PLAIN, OLD, ARGS, ALL_ARGS, ""])
@pytest.mark.parametrize("end", ["ready", "failed"])
def test_two_starts_are_two_whatever_begins_them(first: str, second: str, end: str) -> None:
    found = parsed(start(first, "08:00", end=end) + start(second, "09:00", end=end))
    assert [log.reached_ready for log in found.attempts] == [end == "ready"] * 2
    assert found.main.vllm_version == "0.25.0"
    assert [(log.failure is None) for log in found.attempts] == [end == "ready"] * 2
    if end == "failed":
        assert [log.failure.text[-5:] for log in found.attempts if log.failure] == ["08:00", "09:00"]


@pytest.mark.parametrize("begin", [LOGO, PLAIN, ARGS, ""])
def test_a_restart_under_new_pids_is_a_start(begin: str) -> None:
    found = parsed(start(begin, "08:00", 100, 167) + start(begin, "09:00", 200, 267))
    assert [log.reached_ready for log in found.attempts] == [True, True]
    assert [log.reported["weights_load_s"] for log in found.attempts] == [9.87, 9.87]


def in_journal(text: str) -> str:
    """As `journalctl -u` shows it, which hides lines with characters that it cannot print."""
    out = []
    for line in text.splitlines():
        pid = line.split("pid=")[1].split(")")[0]
        stamp = "Jun 21 " + (line.split("06-21 ")[1][:8] if "06-21 " in line else "08:59:59")
        out.append(f"{stamp} host vllm[{pid}]: {'[107B blob data]' if '█' in line else line}")
    return "\n".join(out) + "\n"


@pytest.mark.parametrize("end", ["ready", "failed"])
def test_a_journal_without_its_logos_shows_each_start(end: str) -> None:
    starts = "".join(
        start(LOGO, f"{8 + n:02}:00", 100 + n, 200 + n, end).replace(
            LOGO + "\n",
            f"{LOGO}\n(APIServer pid={100 + n}) INFO 06-21 {8 + n:02}:00:01 [utils.py:1] {ARGS}\n",
        )
        for n in range(3)
    )
    found = parsed(in_journal(starts))
    assert [log.reached_ready for log in found.attempts] == [end == "ready"] * 3
    assert found.attempts[1].first_log_ts == "06-21 09:00:01"


def test_the_plain_line_tells_version_and_model() -> None:
    log = log_of(f"{API} INFO 06-21 08:00:00 [api_utils.py:1] {PLAIN}\n")
    assert (log.vllm_version, log.model, log.mode, log.cut_at_start) == (
        "0.25.0",
        "org/model",
        "serve",
        False,
    )


FORMATTERS = {
    "asctime": "2026-06-21 {at},123 - vllm.entrypoints.utils - INFO - {said}",
    "pipes": "2026-06-21 {at} | api_utils | 1397 | INFO : {said}",
    "file": "21-06-2026 {at} [INFO] api_utils.py:345 - log_version_and_model() - {said}",
    "loguru": "2026-06-21 {at}.123 | INFO     | vllm.entrypoints.utils:log:61 - {said}",
    "basic": "INFO:vllm.entrypoints.utils:{said}",
    "glog": "I0621 {at}.123456 1 api_utils.py:345] {said}",
}


def formatted(text: str, form: str) -> str:
    """The same lines in a format of the operator's own, behind the process that vLLM puts before it."""
    out = []
    for line in text.splitlines():
        who, _, rest = line.partition(") ")
        if " [" not in rest or not rest.startswith(("INFO 06-21", "ERROR 06-21")):
            out.append(line)
            continue
        level, _, at, where, message = rest.split(" ", 4)
        own = form.format(at=at, said=message).replace("INFO", level, 1)
        file = where[1:].split(".py")[0]
        own = (
            own.replace("I0621", f"{level[0]}0621")
            .replace("api_utils", file)
            .replace("entrypoints.utils", file)
        )
        out.append(f"{who}) {own}")
    return "\n".join(out) + "\n"


@pytest.mark.parametrize("end", ["ready", "failed"])
@pytest.mark.parametrize("name", FORMATTERS)
def test_two_starts_under_a_formatter_of_one_s_own_are_two(name: str, end: str) -> None:
    text = start(PLAIN, "08:00", end=end) + start(PLAIN, "09:00", end=end)
    found, plain = parsed(formatted(text, FORMATTERS[name])), parsed(text)
    assert [log.reached_ready for log in found.attempts] == [end == "ready"] * 2
    assert (found.main.vllm_version, found.main.model) == ("0.25.0", "org/model")
    assert said(found.main) == said(plain.main)
    assert (found.main.failure is None) == (end == "ready")
    if found.main.failure is not None:
        assert found.main.failure.text.endswith("ValueError: at 09:00")


@pytest.mark.parametrize(
    "keys", [("asctime", "levelname", "name", "message"), ("ts", "level", "logger", "msg")]
)
@pytest.mark.parametrize("logo", [LOGO, PLAIN])
def test_two_starts_in_json_are_two(logo: str, keys: tuple[str, str, str, str]) -> None:
    rows = []
    for line in (start(logo, "08:00") + start(logo, "09:00")).splitlines():
        who, _, rest = line.partition(") ")
        if rest.startswith("INFO:"):
            rows.append(
                f"{who}) {json.dumps({keys[1]: 'INFO', keys[2]: 'uvicorn.error', keys[3]: rest[10:]})}"
            )
            continue
        level, _, at, where, message = rest.split(" ", 4)
        entry = dict(zip(keys, (f"2026-06-21T{at}.5", level, f"vllm.{where[1:-4]}", message), strict=True))
        rows.append(f"{who}) {json.dumps(entry)}")
    found = parsed("\n".join(rows) + "\n")
    assert [log.reached_ready for log in found.attempts] == [True, True]
    assert said(found.main) == said(log_of(start(logo)))
    assert [log.first_log_ts for log in found.attempts] == ["06-21 08:00:00", "06-21 09:00:00"]


def test_several_servers_of_one_start_are_one_start() -> None:
    text = start(LOGO, end="")
    for number in range(4):
        text += f"(ApiServer_{number} pid={300 + number}) INFO:     Started server process [{300 + number}]\n"
        text += f"(ApiServer_{number} pid={300 + number}) INFO:     Application startup complete.\n"
    assert len(parsed(text).attempts) == 1


def test_more_starts_than_are_kept_are_counted() -> None:
    text = "".join(start(PLAIN, f"{n // 60 % 24:02}:{n % 60:02}", end="failed") for n in range(1_100))
    found = parsed(start(PLAIN, "07:00") + text)
    assert len(found.attempts) == 1_000
    assert found.main.reached_ready
    assert "101 earlier starts are not listed" in found.notes


# --- what comes after a start


def after(minute: int, *said: tuple[str, str], process: str = ENGINE) -> str:
    return "".join(f"{process} INFO 06-21 08:{minute:02}:42 [{file}:1] {text}\n" for file, text in said)


REQUEST = f'{API} INFO:     10.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK\n'
RELOAD = after(20, ("default_loader.py", "Loading weights took 28.23 seconds"))
RELOAD_ALL = after(
    20,
    ("gpu_model_runner.py", "Starting to load model org/model..."),
    ("default_loader.py", "Loading weights took 28.23 seconds"),
    ("gpu_model_runner.py", "Model loading took 28.20 GiB memory and 33.30 seconds"),
)
IN_PLACE = after(
    20,
    ("gpu_model_runner.py", "Reloading weights inplace..."),
    ("default_loader.py", "Loading weights took 28.23 seconds"),
)
SLEEP = after(
    20,
    ("gpu_worker.py", "Sleep mode freed 53.45 GiB memory, 20.25 GiB memory is still in use."),
    ("executor_base.py", "It took 0.500000 seconds to fall asleep."),
)
WAKE = after(
    21,
    ("executor_base.py", "It took 0.250000 seconds to wake up tags {'weights'}."),
    ("default_loader.py", "Loading weights took 28.23 seconds"),
)
LORA = after(
    22,
    ("backends.py", "Compiling a graph for dynamic shape takes 99.00 s"),
    ("monitor.py", "torch.compile takes 100.00 s in total"),
    ("gpu_model_runner.py", "Graph capturing finished in 70 secs, took 9.13 GiB"),
)
JOINED = after(
    30,
    ("core.py", f"Initializing a V1 LLM engine (v0.25.0) with config: {config(tp=4)}"),
    ("gpu_model_runner.py", "Starting to load model org/model..."),
    ("default_loader.py", "Loading weights took 28.23 seconds"),
    ("gpu_model_runner.py", "Model loading took 28.20 GiB memory and 33.30 seconds"),
    ("kv_cache_utils.py", "GPU KV cache size: 9,999 tokens"),
    ("core.py", "init engine (profile, create kv cache, warmup model) took 99.00 s"),
    process="(EngineCore_DP2 pid=900)",
)
SAME_NAME = JOINED.replace("EngineCore_DP2", "EngineCore")


def same(log: StartupLog, bare: StartupLog) -> bool:
    shown = (
        "reported",
        "per_rank",
        "phases",
        "tp",
        "ranks",
        "dp",
        "model",
        "ready_ts",
        "reached_ready",
        "failure",
    )
    return all(getattr(log, name) == getattr(bare, name) for name in shown)


@pytest.mark.parametrize("requests", [0, 1, 30, 600])
@pytest.mark.parametrize(
    "later", [RELOAD, RELOAD_ALL, IN_PLACE, SLEEP + WAKE, LORA, JOINED, SAME_NAME, JOINED + RELOAD + LORA]
)
def test_what_comes_after_the_start_does_not_rewrite_it(later: str, requests: int) -> None:
    text = start(LOGO)
    found = parsed(text + REQUEST * requests + later + REQUEST)
    assert len(found.attempts) == 1
    assert same(found.main, log_of(text))


def test_without_a_server_the_engine_s_last_line_ends_the_start() -> None:
    offline = start("", end="")
    assert same(log_of(offline + RELOAD_ALL), log_of(offline))
    assert log_of(offline + RELOAD_ALL).mode == "offline"


def test_what_comes_after_the_start_is_listed_apart() -> None:
    later = log_of(start(LOGO) + REQUEST + RELOAD_ALL + JOINED).later
    assert [(one.event, one.seconds, one.rank) for one in later][:3] == [
        ("load_start", None, "EngineCore"),
        ("weights_took", 28.23, "EngineCore"),
        ("model_loaded", 33.3, "EngineCore"),
    ]
    assert [one.rank for one in later][3:] == ["EngineCore_DP2"] * 6
    assert all(one.line > 8 and one.at_ns is not None for one in later)
    assert log_of(start(LOGO)).later == ()


def test_lines_of_the_start_that_come_late_belong_to_it() -> None:
    text = start(LOGO)
    late = f"{ENGINE} INFO 06-21 08:00:29 [kv_cache_utils.py:1] GPU KV cache size: 1,024 tokens\n"
    log = log_of(text + late)
    assert log.reported["kv_cache_tokens"] == 1024
    assert log.later == ()


def test_a_front_server_that_is_up_before_its_engine_does_not_end_the_start() -> None:
    log = log_of("INFO:     Application startup complete.\n" + start("", end="") + RELOAD)
    assert log.reported["weights_load_s"] == 9.87
