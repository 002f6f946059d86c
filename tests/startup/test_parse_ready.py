"""uvicorn's ready line under any format of its own, in panes, behind prefixes; and what only speaks of it."""

import pytest
from parse_texts import START_0_11, log_of, parsed

READY = "(APIServer pid=1) INFO:     Application startup complete.\n"
BEFORE = START_0_11.removesuffix(READY)
SAID = "Application startup complete."


@pytest.mark.parametrize(
    "line",
    [
        SAID,
        f"INFO:     {SAID}",
        f"INFO: {SAID}",
        f"[service]: INFO:     {SAID}",
        f"[service] INFO:     {SAID}",
        f"service | INFO:     {SAID}",
        f"vllm-server: INFO:     {SAID}",
        f"2025-06-21 08:00:57.250 77 uvicorn.error INFO:     {SAID}",
        f"2025-06-21 08:00:57.250 77 uvicorn.error INFO {SAID}",
        f"2025-06-21 08:00:57,250 - uvicorn.error - INFO - {SAID}",
        f"2025-06-21 08:00:57,250 - INFO - {SAID}",
        f"2025-06-21 08:00:57,250 INFO uvicorn.error {SAID}",
        f"2025-06-21 08:00:57,250 [INFO] {SAID}",
        f"2025-06-21 08:00:57,250 [INFO] uvicorn.error: {SAID}",
        f"[2025-06-21 08:00:57 +0000] [7] [INFO] {SAID}",
        f"[2025-06-21 08:00:57] INFO: {SAID}",
        f"21-06-2025 08:00:57 [INFO] on.py:62 - startup() - {SAID}",
        f"2025-06-21 08:00:57.250 | INFO     | uvicorn.lifespan.on:startup:62 - {SAID}",
        f"2026-03-30 13:11:30 | on | 139739296077376 | INFO : {SAID}",
        f"(APIServer pid=1) INFO 06-21 08:00:57 [on.py:62] {SAID}",
        f"(APIServer pid=1) 2026-03-30 13:11:30 | on | 1397 | INFO : {SAID}",
        f"INFO     {SAID}                                           on.py:62",
        f"[06/21/25 08:00:57] INFO     {SAID}                        on.py:62",
        f"INFO:uvicorn.error:{SAID}",
        f"uvicorn.error: {SAID}",
        f"uvicorn.error | {SAID}",
        f"INFO uvicorn.error: {SAID}",
        f"I0621 08:00:57.250000 77 on.py:62] {SAID}",
        f"08:00:57 {SAID}",
        f"08:00:57.250 INFO {SAID}",
        f'time="2025-06-21T08:00:57Z" level=info msg="{SAID}"',
        f'level=info logger=uvicorn.error message="{SAID}"',
        f'{{"level": "INFO", "logger": "uvicorn.error", "message": "{SAID}"}}',
        f'{{"levelname": "INFO", "name": "uvicorn.error", "message": "{SAID}"}}',
        f'{{"level": "info", "event": "{SAID}"}}',
        f'{{"msg": "{SAID}"}}',
        f'(APIServer pid=1) {{"level": "INFO", "message": "{SAID}"}}',
        f"│ INFO:     {SAID}                                      │",
        f"│(APIServer pid=1) INFO:     {SAID}                     │",
        f"┃ INFO:     {SAID}   ┃",
        f"║ INFO:     {SAID} ║",
        f"| INFO:     {SAID}              |",
        f"  | INFO:     {SAID}",
        f"> INFO:     {SAID}",
        f"    17\tINFO:     {SAID}",
        f"17:INFO:     {SAID}",
        f"\x1b[32mINFO\x1b[0m:     {SAID}\x1b[0m",
        f"\x1b[32mINFO\x1b[0m:     {SAID}   \r",
        f"Jun 21 08:00:57 host vllm[8707]: INFO:     {SAID}",
        f"vllm-0 vllm INFO:     {SAID}",
        f"pod/vllm-0 2025-06-21T08:00:57.250Z INFO:     {SAID}",
    ],
)
def test_ready_is_seen_whatever_stands_around_it(line: str) -> None:
    log = log_of(f"{BEFORE}{line}\n")
    assert log.reached_ready
    assert log.failure is None
    assert log.ready_ns is not None


@pytest.mark.parametrize(
    "line",
    [
        f"Waiting for '{SAID}'",
        f"waiting for {SAID}",
        f'+ grep -q "{SAID}',
        f'echo "{SAID}"',
        f"until it says {SAID}",
        f"(APIServer pid=1) INFO 06-21 08:00:57 [logger.py:43] Received request x: prompt: '{SAID}'",
        f"(APIServer pid=1) INFO 06-21 08:00:57 [logger.py:43] {SAID}",
        f'    print("{SAID}")',
        f"{SAID} is what it says once it is up",
        f"See the line {SAID}",
    ],
)
def test_what_only_speaks_of_ready_is_not_ready(line: str) -> None:
    assert not log_of(f"{BEFORE}{line}\n").reached_ready


def test_a_ready_line_with_a_stamp_of_its_own_says_when() -> None:
    log = log_of(f"{BEFORE}2026-06-21 08:01:07.250 77 uvicorn.error INFO:     {SAID}\n")
    assert log.ready_ts == "06-21 08:01:07"
    assert log.ready_ns is not None
    assert log.first_log_ns is not None
    assert log.ready_ns - log.first_log_ns == 67_000_000_000


@pytest.mark.parametrize("end", ["  │", "│", " "])
@pytest.mark.parametrize("begin", ["│ ", "│"])
def test_a_whole_log_in_a_pane_is_read(begin: str, end: str) -> None:
    rows = "".join(f"{begin}{line:<160}{end}\n" for line in START_0_11.splitlines())
    log = log_of(rows)
    assert log.reached_ready
    assert log.reported == log_of(START_0_11).reported
    assert log.first_log_ts == "06-21 08:00:00"


def test_rows_that_a_pane_wrapped_are_joined() -> None:
    rows = [row[at : at + 120] for row in START_0_11.splitlines() for at in range(0, len(row), 120)]
    log = log_of("".join(f"│ {row:<120} │\n" for row in rows))
    assert log.reached_ready
    assert (log.tp, log.model, log.vllm_version) == (1, "org/model", "0.11.0")
    assert log.reported == log_of(START_0_11).reported


def test_a_server_ends_under_another_format_too() -> None:
    end = "2025-06-21 09:00:57,250 [INFO] uvicorn.error: Application shutdown complete.\n"
    found = parsed(START_0_11 + end + START_0_11.replace("06-21 08", "06-21 10"))
    assert [log.reached_ready for log in found.attempts] == [True, True]
