"""The page in a real browser before the real service, which loads a simulated server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

pytest.importorskip("uvicorn", reason="the extra service is not installed")

from browser import Browser, opened

TOKEN = "a-token-that-is-long-enough"
LIMIT_S = 120


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that wants a token."""
    data = tmp_path_factory.mktemp("data")
    words = [sys.executable, "-m", "vllmperf", "serve", "--port", "0", "--data", str(data)]
    environment = {**os.environ, "VLLMPERF_TOKEN": TOKEN}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment, cwd=data) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            assert found, line
            yield found[0]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=LIMIT_S)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened() as found:
        yield found


def sign_in(browser: Browser, base: str) -> None:
    browser.open(base)
    is_linked = "document.querySelector('#link').dataset.linked === 'true'"
    browser.wait("the service's answer", f"document.querySelector('#token').open || {is_linked}")
    if not browser.run(f"return {is_linked}"):
        browser.element("#token-value").send_keys(TOKEN)
        browser.click("#token button")
    browser.wait("a linked page", is_linked)


def start(browser: Browser, label: str, **settings: str) -> None:
    browser.run("location.hash = '#/new'")
    browser.element("#field-base_url")
    browser.element("#label").send_keys(label)
    for name, value in {"simulator": '{"ttft_ms": 20, "itl_ms": 2}', "output_len": "16", **settings}.items():
        browser.type(f"#field-{name}", value)
    browser.click("form button.main")


def test_from_the_form_to_live_charts_a_report_and_a_comparison(browser: Browser, base: str) -> None:
    sign_in(browser, base)
    start(browser, "first", request_rate="20", num_prompts="150")
    browser.sees("first", "h1")
    browser.wait("a point", "(document.querySelector('.chart .curve')?.getAttribute('d') ?? '') !== ''")
    browser.sees("150 of 150 requests", ".tiles")
    browser.sees("Latency, ms", ".report")
    assert "Finished" in browser.text(".run")
    assert "report.html" in browser.text("main")
    start(browser, "second", request_rate="40", num_prompts="150")
    browser.sees("second", "h1")
    browser.sees("Latency, ms", ".report")
    browser.click("header a.brand")
    browser.wait("two past runs", "document.querySelectorAll('.past tbody .spark').length === 2")
    browser.run("document.querySelectorAll('.pick input').forEach((one) => one.click())")
    browser.click("a.button.main[href^='#/compare']")
    browser.sees("TTFT p50, ms", ".figures-table")
    browser.sees("request_rate", ".differs")
    assert browser.strangers() == set()
    browser.forgiven = ("status of 401",)
    assert browser.complaints() == []


def test_a_field_that_the_service_refuses_has_its_words(browser: Browser, base: str) -> None:
    sign_in(browser, base)
    start(browser, "never", request_rate="0")
    browser.sees("request_rate must be above 0 (got 0)", "#field-request_rate-wrong")
    start(browser, "never", request_rate="1", prefix_len="-3")
    browser.sees("prefix_len must be at least 0 (got -3)", "#field-prefix_len-wrong")


def test_a_stress_run_begins_with_its_preset(browser: Browser, base: str) -> None:
    sign_in(browser, base)
    browser.run("location.hash = '#/new'")
    browser.element("#field-base_url")
    browser.run("document.querySelector('.kinds input[value=stress]').click()")
    browser.wait("the preset", "document.querySelector('#field-num_prompts').placeholder === '500000'")
    assert browser.run("return document.querySelector('#field-request_rate').placeholder") == "12"


def test_a_run_that_is_cancelled_keeps_what_came(browser: Browser, base: str) -> None:
    sign_in(browser, base)
    start(browser, "an hour", request_rate="20", duration="1h")
    browser.sees("an hour", "h1")
    browser.wait("a request", lambda: re.search(r"[1-9][\d,]* of", browser.text(".tiles")))
    browser.click(".run .head button")
    browser.click("#cancel button[value=cancel]")
    browser.sees("what was measured is kept", ".tiles")
    browser.sees("Latency, ms", ".report")
