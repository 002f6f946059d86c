"""What one does on the page: start, cancel and compare runs, give a token, come back to a service that was gone."""

from __future__ import annotations

import pytest

pytest.importorskip("uvicorn", reason="the extra service is not installed")

import fake_service
from browser import Browser
from fake_service import FakeService, full


@pytest.fixture
def service() -> FakeService:
    return FakeService()


# ---- start, cancel, compare ----


def fill(browser: Browser, **values: str) -> None:
    for name, value in values.items():
        field = browser.element(f"#field-{name}")
        field.clear()
        field.send_keys(value)


def test_the_form_starts_a_run_of_what_was_typed(browser: Browser, service: FakeService) -> None:
    with full(service).served() as base:
        browser.open(base, "#/new")
        fill(browser, base_url="http://127.0.0.1:8000", request_rate="12.5", num_prompts="200")
        browser.element("#label").send_keys("from the form")
        browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        fill(browser, extra_body='{"top_k": 3}', api_key="secret")
        browser.type("#field-ignore_eos", "true")
        browser.sees('"request_rate": 12.5', "form pre")
        assert "secret" not in browser.text("form pre")
        browser.click("form button.main")
        browser.sees("from the form", "h1")
        [(path, body, key)] = service.posted
        plan = {
            "base_url": "http://127.0.0.1:8000",
            "request_rate": 12.5,
            "num_prompts": 200,
            "ignore_eos": True,
        }
        assert (path, body) == (
            "runs",
            {
                "kind": "bench",
                "label": "from the form",
                "plan": {**plan, "extra_body": {"top_k": 3}, "api_key": "secret"},
            },
        )
        assert key
        assert len(key) == 32


def test_a_field_that_the_service_refuses_has_the_error_and_the_focus(
    browser: Browser, service: FakeService
) -> None:
    service.refusal = (
        400,
        {"error": "limits.stall_timeout must be above 0 (got -1)", "field": "limits.stall_timeout"},
    )
    with service.served() as base:
        browser.open(base, "#/new")
        fill(browser, base_url="http://127.0.0.1:8000")
        browser.type("#field-stall_timeout", "-1")
        browser.click("form button.main")
        browser.sees("limits.stall_timeout must be above 0 (got -1)", "#field-stall_timeout-wrong")
        assert browser.run("return document.activeElement.id") == "field-stall_timeout"
        assert browser.run("return document.activeElement.getAttribute('aria-invalid')") == "true"
        assert browser.run("return document.activeElement.closest('details').open")
        browser.forgiven = ("status of 400",)


def test_a_second_try_of_the_same_request_has_the_same_key(browser: Browser, service: FakeService) -> None:
    service.refusal = (429, {"error": "the queue is full (16 runs): try again later", "field": None})
    with service.served() as base:
        browser.open(base, "#/new")
        fill(browser, base_url="http://127.0.0.1:8000")
        for times in (1, 2):
            browser.click("form button.main")
            browser.wait("the answer", lambda times=times: len(service.posted) == times)
            browser.sees("the queue is full (16 runs)", "form [role=alert]")
            browser.wait("a button", "!document.querySelector('form button.main').disabled")
        fill(browser, base_url="http://127.0.0.1:8001")
        browser.click("form button.main")
        browser.wait("the answer", lambda: len(service.posted) == 3)
        first, second, third = (key for _, _, key in service.posted)
        assert first == second != third
        browser.forgiven = ("status of 429",)


def test_a_payload_takes_the_flags_of_the_release_that_is_chosen(
    browser: Browser, service: FakeService
) -> None:
    with service.served() as base:
        browser.open(base, "#/new")
        browser.element("#field-base_url")
        browser.click(".kinds label:nth-child(2)")
        fill(browser, model="m", port="8001")
        assert browser.run("return document.querySelector('#field-request_id_prefix')") is None
        browser.type("#field-profile", "vllm-2026")
        browser.wait("its flags", "document.querySelector('#field-request_id_prefix') !== null")
        browser.click("form button.main")
        browser.wait("a run", lambda: service.posted)
        assert service.posted[0][:2] == ("start-load", {"model": "m", "port": 8001, "profile": "vllm-2026"})


def test_kinds_without_fields_are_written_as_json(browser: Browser, service: FakeService) -> None:
    with service.served() as base:
        browser.open(base, "#/new")
        browser.element("#field-base_url")
        browser.click(".kinds label:nth-child(3)")
        text = browser.element("#as-json")
        assert "max_concurrency" in text.get_property("value")
        text.clear()
        text.send_keys("{no")
        browser.click("form button.main")
        browser.sees("This is no JSON", "form [role=alert]")
        text.clear()
        text.send_keys('{"axes": {}}')
        browser.click("form button.main")
        browser.wait("a run", lambda: service.posted)
        assert service.posted[0][:2] == ("runs", {"kind": "sweep", "sweep": {"axes": {}}})


def test_a_run_again_has_what_the_first_one_was_asked(browser: Browser, service: FakeService) -> None:
    with full(service).served() as base:
        browser.open(base, "#/run/done")
        browser.click(".run a.button")
        browser.wait(
            "a filled form",
            "document.querySelector('#field-model')?.value === 'meta-llama/Llama-3.1-405B-Instruct-FP8'",
        )
        assert browser.run("return document.querySelector('#field-num_prompts').value") == "500000"


def test_cancel_asks_first(browser: Browser, service: FakeService) -> None:
    with full(service).served() as base:
        browser.open(base)
        browser.click(".run .head button")
        browser.sees("310,000 requests done so far", "#cancel")
        browser.click("#cancel button[value=keep]")
        browser.click(".run .head button")
        assert service.cancelled == []
        browser.click("#cancel button[value=cancel]")
        browser.wait("the cancel", lambda: service.cancelled == ["live"])
        browser.sees("Cancelled", ".past tbody")


def test_a_queued_run_is_taken_out_of_the_queue(browser: Browser, service: FakeService) -> None:
    with full(service).served() as base:
        browser.open(base)
        browser.click(".queue button")
        browser.click("#cancel button[value=cancel]")
        browser.wait("the cancel", lambda: service.cancelled == ["next"])
        browser.wait("no queue", "document.querySelector('.queue').offsetParent === null")


def test_two_runs_are_picked_and_compared(browser: Browser, service: FakeService) -> None:
    with full(service).served() as base:
        browser.open(base)
        browser.click("input[aria-label='Compare done']")
        browser.sees("Pick one more to compare")
        browser.run(
            "[...document.querySelectorAll('.pick input')].filter((one) => !one.checked && !one.disabled)[0].click()"
        )
        browser.click("a.button.main[href^='#/compare']")
        browser.sees("1 of 1 figure changed beyond chance")
        row = browser.text(".figures-table tbody")
        assert "TTFT p99, ms" in row
        assert "+39.0 %" in row
        assert "worse" in row
        browser.wait("two lines", "document.querySelectorAll('.chart:first-child .curve').length === 2")


# ---- who may see it, and what is lost on the way ----


def test_a_token_is_asked_for_and_kept_for_the_tab(browser: Browser) -> None:
    service = full(FakeService(token="right"))
    with service.served() as base:
        browser.open(base)
        for token in ("wrong", "right"):
            browser.element("#token-value").send_keys(token)
            browser.click("#token button")
            if token == "wrong":
                browser.sees("The service refused this token", "#token")
        browser.sees("eleven hours", ".run")
        browser.wait("a linked page", "document.querySelector('#link').dataset.linked === 'true'")
        service.tell("interval", {"id": "live", **fake_service.row(300, 20, output_tokens_per_s=2345.6)})
        browser.sees("2,346", ".charts")
        assert browser.run(
            "return [Object.values(sessionStorage), localStorage.length, document.cookie]"
        ) == [["right"], 0, ""]
        browser.forgiven = ("status of 401",)


def test_a_service_that_goes_away_and_comes_back_is_noticed(browser: Browser, service: FakeService) -> None:
    with full(service).served() as base:
        browser.open(base)
        browser.wait("a linked page", "document.querySelector('#link').dataset.linked === 'true'")
        port = int(base.rpartition(":")[2])
    browser.sees("connection lost")
    browser.sees("the service does not answer", ".run .tiles")
    with service.served(port):
        browser.wait("a linked page", "document.querySelector('#link').dataset.linked === 'true'")
        browser.sees("Fine", ".run .tiles")
    browser.forgiven = ("ERR_", "net::")
