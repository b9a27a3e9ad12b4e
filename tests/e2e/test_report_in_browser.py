"""The page of `amlrun report` in a real browser: opened from a file, for one run to a thousand, whatever they wrote."""

from __future__ import annotations

import base64
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.report import page, record
from runner.report.gather import Asked, Entry, gather
from runner.spec import Failure, Run, State
from tests.browser import browser, look_like
from tests.plans import make_plan
from tests.watching import wait_for

pytestmark = pytest.mark.slow
# What would run if it were taken for markup: it raises a flag, and its image would be asked for.
TRAP = '</script><img src="x" onerror="window.caught=1"><script>window.caught=1</script>'
STATES = (State.COMPLETED, State.COMPLETED, State.COMPLETED, State.FAILED, State.RUNNING, State.CANCELED, State.PLANNED)
UNREADABLE = """[...document.querySelectorAll('svg')].flatMap(svg => {
    const texts = [...svg.querySelectorAll('text')].map(text => [text.lastChild.data, text.getBoundingClientRect()])
    const across = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
    const along = (a, b) => a.top < b.bottom - 3 && b.top < a.bottom - 3
    const frame = svg.getBoundingClientRect(), inside = a => frame.left - 1 <= a.left && a.right <= frame.right + 1
    if (texts.some(([, a]) => !inside(a))) return texts.filter(([, a]) => !inside(a)).map(([name]) => name + ' is cut')
    return texts.flatMap(([name, a], i) => texts.slice(i + 1)
        .filter(([, b]) => across(a, b) && along(a, b)).map(([other]) => name + ' | ' + other))
})"""
MINUS = "\N{MINUS SIGN}"


@dataclass
class Shown:
    """A browser, and the folder whose pages it opens."""

    driver: Any
    folder: Path

    def open(self, entries: list[Entry]) -> None:
        report = gather(entries, str(self.folder), "2026-01-01T02:00:00+00:00", Asked())
        path = self.folder / "report.html"
        path.write_text(page.document(report, record.as_json(report)), encoding="utf-8")
        self.driver.get("about:blank")
        self.driver.get(path.as_uri())
        self.settle()

    def settle(self) -> None:
        """Until every chart is drawn."""
        wait_for(lambda: self.js("[...document.querySelectorAll('.plot')].every(plot => plot.firstChild)"))

    def js(self, expression: str, *values: Any) -> Any:
        return self.driver.execute_script(f"return {expression}", *values)

    def all(self, selector: str) -> list[str]:
        found: list[str] = self.js("[...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)
        return found

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def fits(self) -> bool:
        across = self.js("[document.scrollingElement.scrollWidth, innerWidth]")
        return bool(across[0] <= across[1])

    def unreadable(self) -> list[str]:
        """Labels of a chart that lie on one another, or are cut off."""
        found: list[str] = self.js(UNREADABLE)
        return found

    def complaints(self) -> list[str]:
        """What the browser has to say: a violation of the policy, a mistake of the script, something not found."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def shown(driver: Any, tmp_path: Path) -> Iterator[Shown]:
    look_like(driver, 1280, "light")
    driver.get_log("browser")
    yield Shown(driver, tmp_path)
    driver.get("about:blank")


def curve(lr: float, epochs: int, chance: random.Random) -> list[dict[str, Any]]:
    top = math.exp(-((math.log10(lr) + 2) ** 2))
    values = [top * (1 - math.exp(-epoch / 5)) + chance.gauss(0, 0.01) for epoch in range(1, epochs + 1)]
    losses = [1 - value if lr < 0.3 else 10.0**epoch for epoch, value in enumerate(values)]
    rows = enumerate(zip(values, losses, strict=True), 1)
    return [{"epoch": epoch, "test_accuracy": value, "test_loss": loss} for epoch, (value, loss) in rows]


def sweep(folder: Path, count: int, **changes: Any) -> list[Entry]:
    """Runs in every state over four settings, the same at every call."""
    chance = random.Random(4)
    return [point(folder, number, chance, **changes) for number in range(count)]


def point(folder: Path, number: int, chance: random.Random, **changes: Any) -> Entry:
    state = STATES[number % len(STATES)] if number > 2 else State.COMPLETED
    settings = {"optimizer.lr": 10 ** chance.uniform(-4, -0.3), "data.flip": chance.random() < 0.5}
    settings |= {"trainer.batch_size": 2 ** chance.randrange(5, 9), "model.name": chance.choice(["small", "resnet18"])}
    settings |= {"data.folder": f"a/folder/of/a/long/name/{chance.randrange(40)}-\N{HIRAGANA LETTER A}"}
    plan = make_plan(
        folder,
        f"digits-{number:04}",
        **{
            "name": "digits",
            "config": nested(settings),
            "overrides": tuple(f"{key}={value}" for key, value in settings.items()),
            "digests": {"config": "c"},
            **changes,
        },
    )
    cause = ("out of memory", "lost its data")[number % 2]
    failure = Failure(cause, 1, 1, "Traceback\n  boom", "logs/rank_1.log", "less") if state is State.FAILED else None
    run = Run(plan.id, plan.url, plan.name, "local", state, plan.created, (), plan.created, failure)
    rows = [] if state is State.PLANNED else curve(float(settings["optimizer.lr"]), 20, chance)
    return Entry(run, plan, rows)


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, value in settings.items():
        group, _, key = path.partition(".")
        found.setdefault(group, {})[key] = value
    return found


@pytest.mark.parametrize("count", [1, 3, 30, 1000])
def test_every_chart_is_drawn_and_readable_in_light_and_dark_on_desk_and_telephone(
    shown: Shown, tmp_path: Path, count: int
) -> None:
    entries, backgrounds = sweep(tmp_path, count), set()
    for width, theme in ((1280, "light"), (1280, "dark"), (375, "light")):
        look_like(shown.driver, width, theme)
        shown.open(entries)
        shown.driver.save_screenshot(str(tmp_path / f"report-{count}-{width}-{theme}.png"))
        assert shown.fits(), (width, theme)
        assert shown.unreadable() == [], (width, theme)
        backgrounds.add(shown.js("getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2
    assert shown.complaints() == []
    assert shown.js("performance.getEntriesByType('resource').length") == 0, "a request was made"
    measured = sum(entry.run.state is not State.PLANNED for entry in entries)
    assert shown.js("document.querySelectorAll('.curves > figure .lines path').length") == measured
    assert len(shown.all(".settings figure")) == (0, 4, 5)[(count > 1) + (count > 3)]
    assert len(shown.all(".together figure")) == (count > 1)
    assert len(shown.all("#runs tr[id]")) == min(count, 200)
    assert bool(shown.all(".failure")) == (count > 3)
    printed = shown.driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert base64.b64decode(printed).startswith(b"%PDF")


def test_a_column_sorts_a_search_leaves_out_and_a_row_tells_how_to_repeat_its_run(shown: Shown, tmp_path: Path) -> None:
    shown.open(sweep(tmp_path, 30))
    ids = "#runs tr[id] td.name"
    first = shown.all(ids)
    shown.find("th button[title='optimizer.lr']").click()
    lrs = [float(text.replace(MINUS, "-")) for text in shown.all("#runs tr[id] td:nth-child(7)")]
    assert lrs == sorted(lrs, reverse=True)
    shown.find("th button[title='optimizer.lr']").click()
    assert shown.find("th[aria-sort=ascending]").text.startswith("lr")
    shown.find("th button[title='#']").click()
    assert shown.all(ids) == first

    shown.find("#search").send_keys("state=failed lr<0.1")
    wait_for(lambda: set(shown.all("#runs td:nth-child(3)")) == {"✕ failed"})
    assert 0 < len(shown.all(ids)) < len(first)
    assert "of 30 runs" in shown.find(".controls").text
    shown.settle()
    assert shown.js("document.querySelectorAll('.curves > figure .lines path').length") == len(shown.all(ids))

    shown.find("#runs button.open").click()
    run = shown.all(ids)[0]
    assert shown.all("#runs tr.more .command")[0] == f"amlrun rerun {run}"
    assert shown.all("#runs tr.more .command")[1].startswith("amlrun run optimizer.lr=")
    assert shown.all(".failure h3")[0].startswith(("out of memory", "lost its data"))
    assert shown.all(".failure td code")[0].endswith("/logs/rank_1.log")
    shown.find("#runs button.open").click()
    assert shown.all("#runs tr.more") == []


def test_another_metric_and_goal_change_every_chart_and_a_pointed_run_is_marked_everywhere(
    shown: Shown, tmp_path: Path
) -> None:
    shown.open(sweep(tmp_path, 30))
    best = shown.all(".best strong")
    shown.find("#metric option[value=test_loss]").click()
    shown.find("#goal option[value=minimize]").click()
    shown.settle()
    assert shown.all(".curves > figure h3") == ["test_loss"]
    assert "beyond the edge" in shown.all(".curves > figure figcaption")[0], (
        "one diverged run does not flatten the rest"
    )
    assert shown.all(".best .quiet")[0] == "test_loss"
    shown.find("#logarithmic").click()
    shown.settle()
    assert "beyond" not in shown.all(".curves > figure figcaption")[0]
    shown.find("#goal option[value=maximize]").click()
    assert shown.all(".best strong") != best

    shown.settle()
    row = shown.find("#runs tr[id]")
    shown.driver.execute_script("arguments[0].dispatchEvent(new PointerEvent('pointerenter'))", row)
    marked = shown.js("[...document.querySelectorAll('.over')].filter(over => over.firstChild).length")
    assert marked == shown.js("document.querySelectorAll('svg').length") > 4
    chart = shown.find(".curves > figure svg")
    script = """const box = arguments[0].getBoundingClientRect(), at = {clientX: box.left + 300, clientY: box.top + 300}
        arguments[0].dispatchEvent(new PointerEvent('pointermove', at))"""
    shown.driver.execute_script(script, chart)
    assert "test_loss" in shown.find("#tip").text
    assert shown.complaints() == []


def test_what_runs_have_written_is_text_whatever_it_says(shown: Shown, tmp_path: Path) -> None:
    texts = {"name": TRAP, "tags": {TRAP: TRAP}, "overrides": (f"{TRAP}={TRAP}",)}
    entries = []
    for number in (1, 2, 3):
        plan = make_plan(
            tmp_path, f"r{number}", config={TRAP: TRAP * number, "y": {TRAP: number}}, digests={"c": "c"}, **texts
        )
        failure = Failure(TRAP, 0, 1, TRAP, TRAP, TRAP)
        run = Run(plan.id, TRAP, TRAP, "local", State.FAILED, plan.created, (), plan.created, failure, TRAP, TRAP)
        rows = [{TRAP: number / step, "epoch": step, "__proto__": 1, "constructor": 2} for step in (1, 2)]
        entries.append(Entry(run, plan, rows))
    shown.open(entries)
    shown.find("#search").send_keys("<img")
    shown.settle()
    shown.find("#runs button.open").click()
    assert shown.js("window.caught") is None
    assert shown.js("document.querySelectorAll('img').length") == 0
    assert shown.js("document.title").count("<img") == 1
    for place in ("h1", "#runs th", "#runs tr.more dd", ".failure h3", ".failure pre", ".failure td", "figcaption"):
        assert "<img" in "".join(shown.all(place)), place
    assert shown.fits()
    assert shown.complaints() == []


def test_numbers_that_are_none_leave_gaps_and_say_so(shown: Shown, tmp_path: Path) -> None:
    values = {"odd": [0.1, math.nan, 0.3, math.inf, 0.5], "lost": [0.2, math.nan], "huge": [1e308, -1e308], "none": []}
    entries = []
    for name, found in values.items():
        plan = make_plan(tmp_path, name, config={"which": name})
        rows = [{"score": value} for value in found]
        entries.append(Entry(Run(name, "", "n", "local", State.RUNNING, plan.created), plan, rows))
    shown.open(entries)
    markup = shown.js("[...document.querySelectorAll('svg')].map(svg => svg.outerHTML).join()")
    assert "NaN" not in markup
    assert "Infinity" not in markup
    assert shown.unreadable() == []
    assert "2 runs with NaN or infinity" in shown.all(".curves figcaption")[0]
    assert json.loads(
        shown.js("JSON.stringify([...document.querySelectorAll('td.main')].map(e => e.textContent))")
    ) == [
        *("0.5", f"{MINUS}1e308", "NaN", ""),
    ]
    heights = shown.js("[...document.querySelectorAll('.curves > figure .lines path')].map(e => e.getBBox().height)")
    assert min(heights) >= 6, "a point that no line leads to is seen"
    shown.open(entries[-1:])
    assert "no run has metrics yet" in shown.find("#best").text
    assert not shown.find("#curves").is_displayed()
    assert shown.complaints() == []
