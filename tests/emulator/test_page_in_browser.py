"""The page in a real browser: what people see, while runs go on, and that nothing a run wrote is ever executed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from runner.emulator import instance
from runner.emulator.identity import certificates, load_identity
from runner.emulator.service import Service
from runner.emulator.store import Store
from tests.browser import browser
from tests.emulator.bodies import ARTIFACTS, EXPERIMENT, REGISTRY, furnish
from tests.emulator.conftest import HISTORY, WS, Client, Recorder
from tests.watching import wait_for

pytestmark = pytest.mark.slow
# What would run if it were taken for markup: it raises a flag, and its image would be asked for.
TRAP = '<img src="x" onerror="window.caught=1"><script>window.caught=1</script>'
VIEWS = ("runs", "models", "compute", "environments", "requests")


@dataclass
class Shown:
    """A browser, and the emulator whose page it shows."""

    driver: Any
    client: Client

    def open(self, where: str) -> None:
        """Load the page at `where`, in a document of its own."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.client.service.page}/#/{where}")

    def js(self, expression: str, *values: Any) -> Any:
        return self.driver.execute_script(f"return {expression}", *values)

    def all(self, selector: str) -> list[str]:
        found: list[str] = self.js("[...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)
        return found

    def text(self, selector: str = "main") -> str:
        return "\n".join(self.all(selector))

    def until(self, selector: str, text: str) -> None:
        wait_for(lambda: text in self.text(selector), what=lambda: self.text(selector)[-2000:])

    def until_gone(self, selector: str, text: str) -> None:
        wait_for(lambda: text not in self.text(selector), what=lambda: self.text(selector)[-2000:])

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def complaints(self) -> list[str]:
        """What the browser has to say: a violation of the policy, a script's mistake, a file that is not there."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with browser() as chrome:
        yield chrome


@contextmanager
def kept_in(folder: Path) -> Iterator[Client]:
    """Routes over the state in `folder`, with no server."""
    store = Store(folder)
    engine = Recorder()
    yield Client(Service(store, load_identity(folder), "", sys.executable, engine), engine)
    store.close()


@pytest.fixture
def shown(driver: Any, tmp_path: Path) -> Iterator[Shown]:
    pytest.importorskip("cryptography", reason="the emulator's extra is not installed")
    from runner.emulator import server

    folder = tmp_path / "emulator"
    with kept_in(folder) as client:
        listening = server.Server(0, certificates(folder))
        client.service.origin = f"https://127.0.0.1:{listening.server_address[1]}"
        listening.service = client.service
        thread = server.serve(listening)
        furnish(client)
        driver.get_log("browser")
        yield Shown(driver, client)
        driver.get("about:blank")
        listening.shutdown()
        thread.join()
        listening.server_close()


def quoted(text: str) -> str:
    return quote(text, safe="")


def make_run(client: Client, run_id: str, **fields: Any) -> None:
    client.ask("PATCH", f"{EXPERIMENT}/runs/{quoted(run_id)}", {"runId": run_id, **fields})


def log(client: Client, name: str, values: list[Any], first: int = 0, run: str = "r1") -> None:
    rows = [
        {"metricId": f"{name}{first + number}", "createdUtc": f"2026-01-01T00:00:00.{first + number:06}Z", "data": data}
        for number, value in enumerate(values)
        for data in [value if isinstance(value, dict) else {name: value}]
    ]
    metric = {"name": name, "columns": dict.fromkeys(rows[0]["data"], "double"), "value": rows}
    client.ask("POST", f"/metric/v2.0{WS}/runs/{run}/batch", {"values": [metric]})


def upload(client: Client, path: str, content: bytes, run: str = "r1") -> str:
    """The address of the artifact's bytes."""
    asked = {"paths": [{"path": path}]}
    answer = client.ask("POST", f"{ARTIFACTS}/batch/metadata/ExperimentRun/dcid.{run}", asked)
    uri = str(answer["artifactContentInformation"][path]["contentUri"])
    assert client.signed("PUT", uri, content, x_ms_blob_type="AppendBlob").status == 201
    return uri


def append(client: Client, uri: str, content: bytes) -> None:
    assert client.signed("PUT", uri, content, {"comp": "appendblock"}).status == 201


def event(client: Client, name: str, run: str = "r1", **data: Any) -> None:
    client.ask(
        "POST", f"{EXPERIMENT}/runs/{run}/events", {"name": f"Microsoft.MachineLearning.Run.{name}", "data": data}
    )


def test_a_thousand_runs_are_found_by_page_state_and_text(shown: Shown) -> None:
    body = [{"runId": f"n{number}", "status": "Failed" if number % 10 == 0 else "Running"} for number in range(1000)]
    shown.client.ask("PATCH", f"{EXPERIMENT}/batch/runs", {"runs": body})
    shown.open("runs")
    shown.until("main", "1 to 100 of 1002 runs")
    assert shown.all("td.name a")[:2] == ["n999", "n998"]
    shown.find("button:last-of-type").click()
    shown.until("main", "101 to 200 of 1002 runs")
    shown.find("input[type=search]").send_keys("n99")
    shown.until("main", "1 to 11 of 11 runs")
    assert shown.js("document.activeElement.value") == "n99", "what is typed in keeps the focus"
    shown.find("option[value=Failed]").click()
    shown.until("main", "1 to 1 of 1 runs")
    assert shown.all("td.name a") == ["n990"]
    shown.driver.refresh()
    shown.until("main", "1 to 1 of 1 runs")
    shown.find("td.name a").click()
    shown.until("h1", "n990")
    shown.driver.back()
    shown.until("main", "1 to 1 of 1 runs")
    assert shown.complaints() == []


def test_a_run_is_opened_from_its_portal_url_and_goes_on_before_the_readers_eyes(shown: Shown) -> None:
    client = shown.client
    log(client, "loss", [1.0, 0.5])
    uri = upload(client, "user_logs/std_log_process_00.txt", b"".join(b"line %d\n" % number for number in range(200)))
    shown.driver.get(f"{client.service.page}/runs/r1?wsid=/some/scope&tid=some")
    shown.until("pre", "line 199")
    shown.until("figure", "0.5")
    assert shown.js("location.hash") == "#/runs/r1"
    shown.js("document.querySelector('pre').scrollTo(0, 300)")
    shown.js("window.scrollTo(0, 200)")
    shown.js("document.querySelector('a[href*=file]').focus()")
    shown.js("document.getSelection().selectAllChildren(document.querySelector('h1'))")
    shown.js("document.querySelector('details').toggleAttribute('open')")
    before = (
        "[document.querySelector('pre').scrollTop, scrollY, document.activeElement.textContent, String(getSelection())"
    )
    before += ", document.querySelector('details').open]"
    was = shown.js(before)
    log(client, "loss", [0.25], first=2)
    append(client, uri, "one more ü\n".encode())
    make_run(client, "child", parentRunId="r1", displayName="a child")
    shown.until("figure", "0.25")
    shown.until("pre", "one more ü")
    shown.until("main", "a child")
    assert shown.js(before)[0] == was[0] == 300
    assert shown.js(before)[2:] == was[2:]
    shown.js("document.querySelector('pre').scrollTo(0, 1e9)")
    append(client, uri, b"the end\n" * 50)
    shown.until("pre", "the end")
    wait_for(
        lambda: shown.js("(p => p.scrollTop + p.clientHeight >= p.scrollHeight - 8)(document.querySelector('pre'))")
    )
    event(client, "Failed")
    shown.until(".state", "Failed")
    assert shown.complaints() == []


def test_what_runs_wrote_is_text_whatever_it_says(shown: Shown) -> None:
    client = shown.client
    name = TRAP.replace("/", "")
    make_run(client, name, displayName=TRAP, description=TRAP, tags={TRAP: TRAP}, properties={TRAP: TRAP}, target=TRAP)
    make_run(client, "child", parentRunId=name, displayName=TRAP)
    run = f"{HISTORY}/experiments/exp/runs/{quoted(name)}"
    client.ask("POST", f"{run}/events", {"name": "Warning", "data": {"Source": TRAP, "Message": TRAP}})
    failure = {"ErrorResponse": {"error": {"code": TRAP, "message": TRAP}}}
    client.ask("POST", f"{run}/events", {"name": "Error", "data": failure})
    for metric, values in ((TRAP, [1.0, 2.0]), ("cells", [{TRAP: TRAP, "x": TRAP}]), ("two", [{TRAP: 1, "x": 2}] * 2)):
        log(client, metric, values, run=quoted(name))
    container = f"dcid.{name}"
    files = (f"user_logs/{TRAP}.txt", f"outputs/{TRAP}.html", f"outputs/{name}.png", "logs/z.txt")
    for path in files:
        asked = {"paths": [{"path": path}]}
        answer = client.ask("POST", f"{ARTIFACTS}/batch/metadata/ExperimentRun/{quoted(container)}", asked)
        client.signed("PUT", answer["artifactContentInformation"][path]["contentUri"], TRAP.encode())
    asset = {"name": "m", "artifacts": [{"prefix": f"ExperimentRun/{container}/logs/z.txt"}]}
    found = client.ask("POST", f"{REGISTRY}/assets", asset)
    texts = {"description": TRAP, "kvTags": {TRAP: TRAP}, "framework": TRAP, "runId": TRAP}
    client.ask("POST", f"{REGISTRY}/models", {"name": "m", "url": f"aml://asset/{found['id']}", **texts})
    client.service.store.put("environment", TRAP, "1", {"name": TRAP, "version": TRAP, "python": None, "docker": None})
    client.raw("GET", f"/{TRAP}")
    for view in (*VIEWS, f"runs/{quoted(name)}", f"compare?run={quoted(name)}&run=r1", f"runs?text={quoted(TRAP)}"):
        shown.open(view)
        wait_for(lambda: shown.text("#asof") != "", what=lambda: (view, shown.text(), shown.complaints()))  # noqa: B023
        if view != "compute":
            assert "<img src" in shown.text(), view
        assert shown.js("window.caught") is None, view
        assert shown.js("document.querySelectorAll('main img[src=x], main script').length") == 0
        # The picture is none, which the browser may say; nothing else is wrong.
        assert [message for message in shown.complaints() if ".png" not in message] == [], view
    shown.open(f"runs/{quoted(name)}")
    shown.until("#log pre", TRAP)
    for place in ("h1", ".error", ".warning", ".facts", "figcaption", "figure table", ".legend", "#log pre", "select"):
        assert "<img src" in shown.text(place), place


def test_a_log_of_fifty_megabytes_is_read_from_its_end(shown: Shown) -> None:
    lines = b"".join(b"step %09d: the loss is 0.5 or thereabouts\n" % number for number in range(1_000_000))
    upload(shown.client, "user_logs/std_log_process_00.txt", lines)
    for rank in range(1, 64):
        upload(
            shown.client, f"user_logs/std_log_process_{rank:02}.txt", b"\x1b[31mrank %d\x1b[0m\r 10%%\r 20%%\n" % rank
        )
    shown.open("runs/r1")
    shown.until("#log pre", "step 000999999")
    length = "document.querySelector('#log pre').textContent.length"
    assert shown.js(length) <= 1 << 18
    assert shown.text("#log pre").startswith("step ")
    shown.find("#log button").click()
    wait_for(lambda: shown.js(length) > 1 << 18)
    whole = shown.text("#log pre")
    assert whole.encode() == lines[-len(whole) :], "what came before joins what is there"
    shown.find("#logs button[aria-label='next log']").click()
    shown.until("#log pre", "rank 1\n 10%\n 20%")
    assert shown.text("#logs").count("2 of 64") == 1
    shown.find("option[value$='_63.txt']").click()
    shown.until("#log pre", "rank 63")
    assert shown.complaints() == []


def test_charts_of_numbers_that_are_none_and_of_many_and_of_several_runs(shown: Shown) -> None:
    client = shown.client
    log(client, "odd", [1.0, float("nan"), float("inf"), None, 3.0, 1e308, -1e308])
    log(client, "constant", [5, 5, 5])
    log(client, "long", [number if number != 4321 else 1e6 for number in range(10_000)])
    log(client, "once", [0.125])
    log(client, "words", [{"word": "a"}, {"word": "b"}])
    make_run(client, "r3", displayName="another")
    log(client, "long", [number / 2 for number in range(100)], run="r3")
    shown.open("runs/r1")
    shown.until("figure", "0.125")
    assert "NaN" not in shown.js("[...document.querySelectorAll('svg *')].map(e => e.outerHTML).join()")
    assert shown.js("document.querySelectorAll('path.odd').length") == 1
    chart = shown.find("svg[aria-label='odd by row']")
    assert chart.get_attribute("aria-valuetext") == "last: odd -1e+308"
    chart.send_keys("\ue011")  # Home
    assert chart.get_attribute("aria-valuetext") == "row 1: odd 1"
    chart.send_keys("\ue014")  # right
    assert chart.get_attribute("aria-valuetext") == "row 2: odd NaN"
    assert shown.js("document.activeElement.getAttribute('aria-label')") == "odd by row"
    shown.open("runs")
    for run in ("r1", "another"):
        shown.until("main", run)
        shown.find(f"input[aria-label='compare {run}']").click()
    shown.until("main", "compare 2 runs")
    shown.driver.find_element("link text", "compare 2 runs").click()
    shown.until("figure .legend", "another")
    assert shown.js("document.querySelectorAll(\"svg[aria-label='long by row'] path\").length") == 2
    assert shown.complaints() == []


def test_a_stopped_emulator_is_said_and_its_return_noticed(driver: Any, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="the emulator's extra is not installed")
    with kept_in(tmp_path) as client:
        furnish(client)
        upload(client, "user_logs/std_log_process_00.txt", b"before\n")
    try:
        running, _ = instance.start(instance.Settings(tmp_path))
        client.service.origin = running.origin
        shown = Shown(driver, client)
        shown.open("runs/r1")
        shown.until("#log pre", "before")
        instance.stop(tmp_path)
        shown.until("#alive", "no news")
        assert "before" in shown.text("#log pre"), "what is known stays"
        with kept_in(tmp_path) as client:
            log(client, "late", [1.0])
        assert instance.start(instance.Settings(tmp_path))[0].origin == running.origin
        shown.until("figure", "late")
        shown.until_gone("#alive", "no news")
        instance.ask(tmp_path, "reset", {})
        shown.until("#alive", "no news: it is not there")
    finally:
        driver.get("about:blank")
        instance.stop(tmp_path)


def test_it_fits_a_telephone_and_a_dark_room(shown: Shown, tmp_path: Path) -> None:
    client = shown.client
    make_run(
        client, "r1", tags={"amlrun.overrides": "trainer.epochs=2 optimizer.lr=" + "0" * 90}, displayName="n" * 120
    )
    log(client, "a metric of a long name " * 4, [0.5, 0.25, 0.75])
    log(client, "cells", [{f"column {number}": "x" * 30 for number in range(9)}] * 3)
    upload(client, "user_logs/std_log_process_00.txt", b"x" * 500 + b"\n")
    event(client, "Error", ErrorResponse={"error": {"message": "it\nfailed " + "y" * 300}})
    backgrounds = set()
    for width, theme in ((1280, "light"), (1280, "dark"), (360, "light")):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        shown.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        for view in (*VIEWS, "runs/r1"):
            shown.open(view)
            wait_for(lambda: shown.text("#asof") != "")
            across = shown.js("[document.scrollingElement.scrollWidth, innerWidth]")
            assert across[0] <= across[1], (view, width, across)
            backgrounds.add((theme, shown.js("getComputedStyle(document.body).backgroundColor")))
            shown.driver.save_screenshot(str(tmp_path / f"{view.replace('/', '-')}-{width}-{theme}.png"))
    shown.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(backgrounds) == 2
    assert shown.complaints() == []
