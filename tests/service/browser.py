"""A headless Chromium for tests of the page: what it shows, what it asked for, what it complained about."""

from __future__ import annotations

import gc
import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import parts
import pytest

LIMIT_S = 60
FLAGS = (
    *(
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--hide-scrollbars",
    ),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
    ),
)


class Browser:
    """One window. driver: selenium's."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.base = ""
        self.forgiven: tuple[str, ...] = ()

    def open(self, base: str, place: str = "", *, width: int = 1280, dark: bool = False) -> None:
        """A page anew, at this width and in this scheme."""
        self.base, self.forgiven = base, ()
        self.driver.get("about:blank")
        self.driver.get_log("browser"), self.driver.get_log("performance")
        self.scheme(dark)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(f"{base}/{place}")

    def scheme(self, dark: bool) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def type(self, selector: str, value: str) -> None:
        """Into a field that may be out of sight, or a choice of it."""
        script = "const one = document.querySelector(arguments[0]); one.value = arguments[1];"
        self.run(
            script + "for (const kind of ['input', 'change']) one.dispatchEvent(new Event(kind))",
            selector,
            value,
        )

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a script returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, what: str, script: str | Callable[[], Any]) -> Any:
        """The first true value of a script (an expression) or function."""
        ask = (lambda: self.run(f"return ({script})")) if isinstance(script, str) else script
        end = time.monotonic() + LIMIT_S
        while not (found := ask()):
            assert time.monotonic() < end, f"waited for {what} and saw {self.text()[:2000]}"
            time.sleep(0.1)
        return found

    def sees(self, text: str, within: str = "body") -> None:
        """Wait until a text is shown."""
        self.wait(f"{text!r} in {within}", lambda: text in self.text(within))

    def text(self, within: str = "body") -> str:
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", within))

    def click(self, selector: str) -> None:
        self.element(selector).click()

    def element(self, selector: str) -> Any:
        """Waits until it is shown."""
        from selenium.webdriver.common.by import By

        self.wait(
            selector,
            lambda: any(one.is_displayed() for one in self.driver.find_elements(By.CSS_SELECTOR, selector)),
        )
        return next(one for one in self.driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed())

    def keys(self, *keys: str) -> None:
        """To whatever has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def complaints(self) -> list[str]:
        """What the console has of level warning and above, but that a service which has ended is gone."""
        found = [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ]
        return [
            message
            for message in found
            if not any(part in message for part in (*self.forgiven, "ERR_CONNECTION"))
        ]

    def strangers(self) -> set[str]:
        """Requests to another origin than that of the page."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        urls = {
            one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"
        }
        own = urlsplit(self.base).netloc
        return {
            url
            for url in urls
            if urlsplit(url).scheme in ("http", "https", "ws", "wss") and urlsplit(url).netloc != own
        }


@contextmanager
def opened() -> Iterator[Browser]:
    """Skips where there is no Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = parts.program("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(parts.program("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
        with (
            warnings.catch_warnings()
        ):  # sockets that selenium leaves to the collector are no failure of a later test
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
