"""The page in a real browser, in states that a real service is seldom in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("uvicorn", reason="the extra service is not installed")

import fake_service
from browser import Browser, opened
from fake_service import FakeService

TAB, ENTER, SPACE, RIGHT, LEFT = "\ue004", "\ue007", "\ue00d", "\ue014", "\ue012"
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>\u202egnp.exe'
NOT_NUMBERS = """
const drawn = [...document.querySelectorAll('svg')].map((one) => one.outerHTML).join();
return /NaN|undefined|null|Infinity/.test(document.body.innerText + drawn);
"""
FOREIGN = """
const tags = ':is(script, style, img, a, iframe, form, [style], [onclick], [href])';
return document.querySelectorAll(`.report ${tags}`).length;
"""
PLACES = ["", "#/run/done", "#/compare?a=done&b=other", "#/new"]
LIVE = fake_service.run(
    "live", label="eleven hours", phase="running", ended_at=None, progress=0.62, time_left_s=15_120, asked=500_000,
    done=310_000, verdict=None, headline=None, started_at=fake_service.at(410),
)  # fmt: skip
QUEUED = fake_service.run(
    "next", phase="queued", started_at=None, ended_at=None, verdict=None, headline=None, done=0, spark=[]
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Browser]:
    with opened() as found:
        yield found


@pytest.fixture
def browser(shared: Browser) -> Iterator[Browser]:
    """Every test ends with a console without complaints, and asked nobody but the service."""
    yield shared
    assert shared.complaints() == []
    assert shared.strangers() == set()


@pytest.fixture
def service() -> FakeService:
    return FakeService()


def full(service: FakeService) -> FakeService:
    """A run, a queue, and a past."""
    service.add(LIVE, intervals=fake_service.rows(300))
    service.add(QUEUED)
    service.queue = ["next"]
    files = [{"name": "report.html", "bytes": 2000, "url": "/runs/done/report.html"}]
    service.add(fake_service.run("done"), files=files, intervals=fake_service.rows(100))
    service.add(fake_service.run("other", label="x" * 200), intervals=fake_service.rows(100))
    service.add(
        fake_service.run(
            "broken", phase="failed", error="no answer within 30 min", verdict=None, headline=None
        )
    )
    change = {
        "a": 70.4,
        "b": 98.2,
        "change": 0.39,
        "change_ci95": [0.2, 0.6],
        "p": 0.001,
        "beyond_chance": True,
    }
    service.compared = {"a": {}, "b": {}, "figures": {"p99_ttft_ms": change}, "paired": True}
    return service


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


# ---- hands and eyes ----


def test_a_run_is_started_by_the_keyboard_alone(browser: Browser, service: FakeService) -> None:
    with service.served() as base:
        browser.open(base)
        browser.sees("Nothing runs")
        tab_to(browser, "document.activeElement.textContent === 'New run'")
        browser.keys(ENTER)
        browser.element("#field-base_url")
        tab_to(browser, "document.activeElement.name === 'kind'")
        browser.keys(RIGHT)
        browser.element("#field-host")
        browser.keys(LEFT)
        browser.element("#field-base_url")
        tab_to(browser, "document.activeElement.id === 'field-base_url'")
        browser.keys("http://127.0.0.1:8000", ENTER)
        browser.wait("a run", lambda: service.posted)
        browser.sees("started", "h1")


def test_a_chart_is_read_by_the_keyboard(browser: Browser, service: FakeService) -> None:
    with full(service).served() as base:
        browser.open(base, "#/run/done")
        browser.wait("a line", "document.querySelector('.chart .curve')?.getAttribute('d').length > 100")
        tab_to(browser, "document.activeElement.classList.contains('plot')")
        browser.keys(LEFT, LEFT)
        browser.sees("at 1 min 37 s", ".when")
        assert browser.run("return document.activeElement.getAttribute('aria-label')").startswith(
            "Output tokens, tokens/s: 1,"
        )
        assert browser.run(
            "return [...document.querySelectorAll('.cursor')].every((one) => one.getAttribute('visibility') === 'visible')"
        )


def tab_to(browser: Browser, wanted: str) -> None:
    for _ in range(60):
        browser.keys(TAB)
        if browser.run(f"return ({wanted})"):
            return
    pytest.fail(f"no {wanted}")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("width", [360, 400, 800, 1010])
def test_a_narrow_screen_never_scrolls_sideways(
    browser: Browser, service: FakeService, place: str, width: int
) -> None:
    with full(service).served() as base:
        browser.open(base, place, width=width)
        browser.wait(
            "the page",
            "document.querySelector('.past tbody tr, .report table, .figures-table tr, .field') !== null",
        )
        assert browser.run("return document.documentElement.scrollWidth") == width


CONTRAST = """
const probe = document.body.appendChild(document.createElement('i'));
const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
const light = (name) => {
  probe.style.color = `var(--${name})`;
  const [r, g, b] = getComputedStyle(probe).color.match(/[0-9.]+/g).map((one) => linear(one / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
return arguments[0].map(([ink, back]) => [ink, back, contrast(light(ink), light(back))]);
"""
PAIRS = [
    *(("ink", back) for back in ("card", "back", "press", "trusted-back", "caution-back", "untrusted-back")),
    *(("dim", back) for back in ("card", "back")),
    *(
        (level, back)
        for level in ("trusted", "caution", "untrusted", "unknown")
        for back in ("card", f"{level}-back")
    ),
    *(("link", back) for back in ("card", "back")),
]


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read_by_day_and_by_night(
    browser: Browser, service: FakeService, dark: bool
) -> None:
    with full(service).served() as base:
        browser.open(base, dark=dark)
        browser.sees("Fine", ".run .tiles")
        is_dark = browser.run(
            "return parseInt(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0]) < 60"
        )
        assert is_dark == dark
        faint = [found for found in browser.run(CONTRAST, PAIRS) if found[2] < 4.5]
        assert faint == []
