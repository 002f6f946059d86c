"""The page by keyboard, on narrow screens, and in the eyes of who reads it."""

from __future__ import annotations

import pytest

pytest.importorskip("uvicorn", reason="the extra service is not installed")

from browser import Browser
from fake_service import FakeService, full

TAB, ENTER, SPACE, RIGHT, LEFT = "\ue004", "\ue007", "\ue00d", "\ue014", "\ue012"
PLACES = ["", "#/run/done", "#/compare?a=done&b=other", "#/new"]


@pytest.fixture
def service() -> FakeService:
    return FakeService()


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
