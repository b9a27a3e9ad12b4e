"""A browser that shows a page as people see it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ARGUMENTS = (
    *("headless=new", "no-sandbox", "ignore-certificate-errors", "disable-dev-shm-usage", "disable-gpu"),
    "window-size=1280,1000",
)


@contextmanager
def browser() -> Iterator[Any]:
    """Selenium's driver of a headless Chromium; skips the test, saying why, where there is none."""
    program, remote = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or remote is None:
        pytest.skip("there is no browser here: apt-get install chromium chromium-driver")
    pytest.importorskip("selenium", reason="selenium is not installed; it is of the extra 'dev'")
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = program
    for argument in ARGUMENTS:
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=ChromeService(remote))
    chrome.set_page_load_timeout(30)
    try:
        yield chrome
    finally:
        chrome.quit()


def look_like(driver: Any, width: int, theme: str) -> None:
    """From now on the page is shown so wide (in pixels), in a 'light' or a 'dark' room."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    )
