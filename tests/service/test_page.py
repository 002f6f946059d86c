"""What the page shows, in a real browser and in states that a real service is seldom in."""

from __future__ import annotations

import pytest

pytest.importorskip("uvicorn", reason="the extra service is not installed")

import fake_service
from browser import Browser
from fake_service import LIVE, QUEUED, FakeService, full

HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>\u202egnp.exe'
NOT_NUMBERS = """
const drawn = [...document.querySelectorAll('svg')].map((one) => one.outerHTML).join();
return /NaN|undefined|null|Infinity/.test(document.body.innerText + drawn);
"""
FOREIGN = """
const tags = ':is(script, style, img, a, iframe, form, [style], [onclick], [href])';
return document.querySelectorAll(`.report ${tags}`).length;
"""


@pytest.fixture
def service() -> FakeService:
    return FakeService()


# ---- what it says at a glance ----


def test_what_runs_whether_it_is_fine_and_how_long_it_takes_stand_on_top(
    browser: Browser, service: FakeService
) -> None:
    with full(service).served() as base:
        browser.open(base)
        browser.sees("Fine", ".run .tiles")
        assert "eleven hours" in browser.text(".run h2")
        assert "4 h 12 min" in browser.text(".run .tiles")
        assert "62 %" in browser.text(".run .tiles")
        assert "310,000 of 500,000 requests" in browser.text(".run .tiles")
        assert browser.run("return document.title") == "62 % eleven hours – vllmperf"
        assert "1 of 16 places taken" in browser.text()


def test_a_chart_moves_with_each_interval(browser: Browser, service: FakeService) -> None:
    with full(service).served() as base:
        browser.open(base)
        reading = "(document.querySelector('.chart .key b')?.textContent ?? '–')"
        browser.wait(
            "the first figures",
            f"{reading} !== '–' && document.querySelector('#link').dataset.linked === 'true'",
        )
        before = browser.run("return document.querySelector('.chart .curve').getAttribute('d')")
        service.tell("interval", {"id": "live", **fake_service.row(300, 20, output_tokens_per_s=2345.6)})
        browser.wait("the new figure", f"{reading} === '2,346'")
        browser.wait(
            "another line",
            lambda: browser.run("return document.querySelector('.chart .curve').getAttribute('d')") != before,
        )


def test_errors_of_the_last_minute_are_trouble(browser: Browser, service: FakeService) -> None:
    service.add(
        LIVE,
        intervals=[
            *fake_service.rows(250),
            *(fake_service.row(250 + i, errors=6, completed=6) for i in range(50)),
        ],
    )
    with service.served() as base:
        browser.open(base)
        browser.sees("In trouble", ".run .tiles")
        assert "% of the last minute’s requests failed" in browser.text(".run .tiles")


def test_throughput_that_fell_is_said(browser: Browser, service: FakeService) -> None:
    service.add(
        LIVE,
        intervals=[
            *fake_service.rows(300),
            *(fake_service.row(300 + i, output_tokens_per_s=900) for i in range(70)),
        ],
    )
    with service.served() as base:
        browser.open(base)
        browser.sees("below the run’s median", ".run .tiles")
        assert "Look" in browser.text(".run .tiles")


def test_a_server_that_is_waited_for_is_named(browser: Browser, service: FakeService) -> None:
    service.add(
        {
            **LIVE,
            "phase": "waiting",
            "note": "http://10.0.0.7:8000 refuses the connection",
            "progress": None,
            "time_left_s": None,
        }
    )
    with service.served() as base:
        browser.open(base)
        browser.sees("Waiting for the server")
        browser.sees("http://10.0.0.7:8000 refuses the connection", ".run .tiles")


def test_a_service_without_runs_says_how_to_start_one(browser: Browser, service: FakeService) -> None:
    with service.served() as base:
        browser.open(base)
        browser.sees("Nothing runs")
        browser.sees("No run has ended yet")
        browser.click(".idle .button")
        browser.element("#field-base_url")


def test_a_run_that_ends_goes_to_the_past_ones(browser: Browser, service: FakeService) -> None:
    with full(service).served() as base:
        browser.open(base)
        browser.wait("a linked page", "document.querySelector('#link').dataset.linked === 'true'")
        browser.sees("eleven hours", ".now")
        service.tell(
            "run",
            {
                **LIVE,
                "phase": "finished",
                "ended_at": fake_service.at(0),
                "verdict": {"level": "caution", "reasons": ["x"]},
                "headline": fake_service.HEADLINE,
            },
        )
        browser.sees("eleven hours", ".past tbody")
        assert "Caution" in browser.text(".past tbody")


# ---- long runs, nulls, hostile texts ----


def test_a_run_of_hours_is_drawn_with_a_point_a_pixel(browser: Browser, service: FakeService) -> None:
    rows = fake_service.rows(3600, 11.0)
    rows[1800]["ttft_ms_p99"] = 30_000.0
    service.add(LIVE, intervals=rows)
    with service.served() as base:
        browser.open(base)
        browser.sees("Last hour")
        line = "document.querySelector('.chart .curve').getAttribute('d')"
        browser.wait("a line", f"{line}.length > 1000")
        points, width = browser.run(
            f"return [{line}.split('L').length, document.querySelector('.plot').clientWidth]"
        )
        assert 100 < points <= width
        assert "▲ 30,000 at most" in browser.text(".charts")
        browser.run(
            "[...document.querySelectorAll('.ranges button')].find(one => one.textContent === 'Last hour').click()"
        )
        browser.wait("a shorter stretch", lambda: "▲" not in browser.text(".charts"))


def test_what_was_not_measured_is_a_dash(browser: Browser, service: FakeService) -> None:
    nothing = dict.fromkeys(
        ("ttft_ms_p50", "ttft_ms_p99", "itl_ms_p50", "itl_ms_p99", "schedule_lag_ms_p99", "client_lag_ms_p99")
    )
    headline = {**fake_service.HEADLINE, "ttft_ms_p50": None, "ttft_ms_p99": None, "requests_per_s": None}
    service.add(
        {**LIVE, "progress": None, "time_left_s": None, "asked": None, "target": None},
        intervals=[fake_service.row(i, **nothing) for i in range(50)],
    )
    service.add(
        fake_service.run("done", headline=headline, spark=[], label=None, verdict=None, asked=None),
        intervals=[fake_service.row(0, **nothing)],
    )
    with service.served() as base:
        for place in ("", "#/run/done"):
            browser.open(base, place)
            browser.sees("–", ".charts")
            assert not browser.run(NOT_NUMBERS)


def test_names_and_errors_are_text_whatever_is_in_them(browser: Browser, service: FakeService) -> None:
    texts = {"label": HOSTILE, "error": HOSTILE, "note": HOSTILE, "target": HOSTILE}
    service.add({**LIVE, **texts}, intervals=fake_service.rows(10), request={"plan": {"model": HOSTILE}})
    service.add({**QUEUED, **texts, "kind": HOSTILE})
    service.queue = ["next"]
    service.add(
        fake_service.run("done", **texts, verdict={"level": HOSTILE, "reasons": [HOSTILE, HOSTILE]}),
        request={HOSTILE: HOSTILE},
        files=[{"name": HOSTILE, "bytes": 1, "url": "/x"}],
        uploads=[{"name": HOSTILE, "to": HOSTILE, "state": HOSTILE}],
    )
    service.compared = {
        "figures": {HOSTILE: {"a": 1, "b": 2, "change": 1}},
        "differs": {"plan": {HOSTILE: [HOSTILE, HOSTILE]}},
    }
    with service.served() as base:
        for place in ("", "#/run/done", "#/run/live", "#/compare?a=done&b=done"):
            browser.open(base, place)
            browser.sees("<img src=x", "main")
            assert browser.run("return document.querySelectorAll('main img, main script').length") == 0
            assert "\u202e" not in browser.run(
                "return document.body.innerText.replace(document.querySelector('pre')?.innerText ?? '', '')"
            )
            assert browser.run("return document.title") not in ("1", "2")


def test_a_report_is_shown_without_its_scripts_and_addresses(browser: Browser, service: FakeService) -> None:
    service.report = fake_service.HOSTILE_REPORT
    with full(service).served() as base:
        browser.open(base, "#/run/done")
        browser.sees("no reason to doubt the figures", ".report")
        browser.forgiven = (
            "Executing inline event handler",
        )  # the policy refuses it in the parsed text, too
        assert browser.run("return document.querySelectorAll('.report svg polyline').length") == 1
        assert browser.run(FOREIGN) == 0
        assert browser.run("return document.title") == "done – vllmperf"


def test_hundreds_of_past_runs_come_as_one_asks_for_them(browser: Browser, service: FakeService) -> None:
    service.add(*(fake_service.run(f"run-{n}") for n in range(230)))
    with service.served() as base:
        browser.open(base)
        browser.sees("Show 50 more of 230")
        for shown in (100, 150):
            browser.click(".past ~ button")
            browser.wait(f"{shown} rows", f"document.querySelectorAll('.past tbody tr').length === {shown}")
        browser.type("[type=search]", "run-229")
        browser.wait("the oldest", "document.querySelectorAll('.past tbody tr').length === 1")
        browser.sees("run-229")
