"""Other servers beside vLLM in one log: routers, proxies and sidecars have a uvicorn, requests and JSON of their own."""

import json

import pytest
from parse_texts import START_0_7, START_0_11, log_of, parsed, said
from test_parse_apart import FAILED, OUT, of, parts

ROUTER = """\
INFO:     Started server process [7]
INFO:     Waiting for application startup.
INFO:     Application startup complete.
INFO:     Uvicorn running on http://0.0.0.0:8001 (Press CTRL+C to quit)
"""
HEALTH = 'INFO:     10.0.0.3:40000 - "GET /health HTTP/1.1" 200 OK\n'
LOADED = START_0_11.split("(EngineCore_DP0 pid=2) INFO 06-21 08:00:33")[0]
LOGO = """\
(APIServer pid=1) INFO 06-21 08:00:02 [utils.py:344]
(APIServer pid=1) INFO 06-21 08:00:02 [utils.py:344]  ▄▄ ▄█ █     █     █ ▀▄▀ █  version 0.17.0
(APIServer pid=1) INFO 06-21 08:00:02 [utils.py:344]   █▄█▀ █     █     █     █  model   org/model
"""
BANNER = "(APIServer pid=1) INFO 06-21 08:00:02 [api_server.py:1839] vLLM API server version 0.11.0\n"


def behind(name: str, text: str) -> str:
    return "".join(f"{name}{line}\n" for line in text.splitlines())


def between(text: str) -> str:
    """Health checks of the other server among the lines."""
    lines = text.splitlines(keepends=True)
    return "".join(line + HEALTH * (place % 4 == 3) for place, line in enumerate(lines))


@pytest.mark.parametrize("start", [START_0_11, START_0_11.replace(BANNER, LOGO)], ids=["version", "logo"])
@pytest.mark.parametrize("served", ["", HEALTH * 3])
@pytest.mark.parametrize("place", ["before", "after the first lines", "after"])
def test_a_router_s_uvicorn_is_not_vllm_s(place: str, served: str, start: str) -> None:
    loaded = start.split("(EngineCore_DP0 pid=2) INFO 06-21 08:00:33")[0]
    at = start.index("(EngineCore_DP0 pid=2)") if place == "after the first lines" else 0

    def beside(text: str) -> str:
        return text + ROUTER + served if place == "after" else text[:at] + ROUTER + served + text[at:]

    half = parsed(beside(loaded))
    assert [log.reached_ready for log in half.attempts] == [False]
    if place != "after":
        whole = parsed(beside(start))
        assert [(log.reached_ready, log.ready_ts) for log in whole.attempts] == [(True, "06-21 08:00:56")]
        assert said(whole.main) == said(log_of(start))


def test_requests_that_a_router_answers_do_not_make_vllm_ready() -> None:
    first, rest = LOADED.split("\n", 3)[:3], LOADED.split("\n", 3)[3]
    assert not log_of("\n".join(first) + "\n" + ROUTER + between(rest)).reached_ready
    assert not log_of(ROUTER + between(LOADED)).reached_ready
    assert log_of(ROUTER + between(START_0_11)).ready_ts == "06-21 08:00:56"


def test_an_engine_that_is_up_only_later_shows_that_another_server_was_ready() -> None:
    """Before 0.10.2 no line names its process."""
    text = START_0_7.replace("INFO 02-24 13:59:51 llm_engine", "INFO 02-24 13:59:59 llm_engine")
    engine, uvicorn = (
        text.split("INFO:     Started")[0],
        "INFO:     Started" + text.split("INFO:     Started")[1],
    )
    begun, rest = engine.split("INFO 02-24 13:59:31", 1)
    rest = "INFO 02-24 13:59:31" + rest
    assert not log_of(begun + ROUTER + rest).reached_ready
    both = log_of(begun + ROUTER + rest + uvicorn)
    assert (both.reached_ready, both.ready_ts, said(both)) == (True, "02-24 13:59:59", said(log_of(text)))


@pytest.mark.parametrize("name", ["[pod/router-b/router] ", "[pod/vllm-a/proxy] ", "router-1  | "])
def test_another_pod_or_container_that_is_ready_is_no_start(name: str) -> None:
    own = "vllm-1  | " if "|" in name else "[pod/vllm-a/vllm] "
    found = parsed(behind(name, ROUTER) + behind(own, LOADED))
    assert [(log.vllm_version, log.reached_ready) for log in found.attempts] == [("0.11.0", False)]


def test_json_of_a_program_in_another_language_is_not_vllm_s() -> None:
    proxy = {
        "level": "info",
        "ts": "2026-06-21T07:00:00Z",
        "logger": "proxy",
        "caller": "proxy/proxy.go:120",
        "msg": "up",
    }
    log = log_of(json.dumps(proxy) + "\n" + START_0_11)
    assert (log.first_log_ts, said(log)) == ("06-21 08:00:00", said(log_of(START_0_11)))


def test_pods_that_stern_names_without_stamps_are_told_apart() -> None:
    other = START_0_7.replace("02-24 13:59", "06-21 08:00").replace("02-24 14", "06-21 09")
    names = ("vllm-7d9c5b8f4-x2x9z vllm ", "vllm-7d9c5b8f4-abcd5 vllm ")
    one, two = behind(names[0], START_0_11).splitlines(), behind(names[1], other).splitlines()
    mixed = [line for pair in zip(one, two, strict=False) for line in pair]
    mixed += one[len(two) :] + two[len(one) :]
    found = parsed("\n".join(mixed) + "\n")
    assert [(log.vllm_version, log.reached_ready) for log in found.attempts] == [
        ("0.11.0", True),
        ("0.7.3", True),
    ]
    assert [said(log) for log in found.attempts] == [said(log_of(START_0_11)), said(log_of(START_0_7))]


def test_the_first_lines_of_a_second_start_are_its_own_where_stderr_is_apart() -> None:
    err, _ = parts(START_0_11)
    for text in (err * 2 + OUT + of(OUT, 1, 22), OUT + of(OUT, 1, 22) + err * 2):
        assert [log.first_log_ts for log in parsed(text).attempts] == ["06-21 08:00:00", "06-22 08:00:00"]


def test_a_failed_start_and_a_router_that_is_ready_is_a_failed_start() -> None:
    for text in (ROUTER + FAILED, FAILED + ROUTER, ROUTER + HEALTH + FAILED):
        log = log_of(text)
        assert not log.reached_ready
        assert log.failure is not None
