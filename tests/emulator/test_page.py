"""What the page is made of: its own files, data as JSON, files of runs; and nothing without the secret."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from runner.emulator import curves, instance, page
from runner.emulator.messages import Response
from tests.conftest import Cli
from tests.emulator.bodies import ARTIFACTS, ENVIRONMENTS, EXPERIMENT, METRICS, furnish
from tests.emulator.conftest import Client

SAFE = {"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control"}
WEB = Path(page.__file__).with_name("web")


@pytest.fixture(scope="module")
def furnished(shared: Client) -> Client:
    furnish(shared)
    return shared


def get(client: Client, path: str, /, secret: str = "", **query: str) -> Response:
    address = f"/page/{secret or client.service.identity.page_secret}{path}"
    return client.raw("GET", address, query=query, authorization="")


def read(client: Client, path: str, /, **query: str) -> Any:
    response = get(client, path, **query)
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json"), response.content()
    return json.loads(response.content())  # type: ignore[arg-type]


def upload(client: Client, path: str, content: bytes) -> None:
    answer = client.ask("POST", f"{ARTIFACTS}/batch/metadata/ExperimentRun/dcid.r1", {"paths": [{"path": path}]})
    put = client.signed("PUT", answer["artifactContentInformation"][path]["contentUri"], content)
    assert put.status == 201


def sent(response: Response) -> bytes:
    """What the server sends of it."""
    content = response.content()
    whole = content if isinstance(content, bytes) else content.read_bytes()
    return whole[response.first :][: response.length]


def log(client: Client, name: str, rows: list[dict[str, Any]]) -> Any:
    """Log rows of a metric to r1; what the page draws of it."""
    made = [
        {"metricId": f"{name}{number}", "createdUtc": f"2026-01-01T00:00:00.{number:06}Z", **row}
        for number, row in enumerate(rows)
    ]
    columns = {key: "double" for row in rows for key in row["data"]}
    client.ask("POST", f"{METRICS}/batch", {"values": [{"name": name, "columns": columns, "value": made}]})
    return read(client, "/data/runs/r1/metrics")["metrics"][name]


PATHS = [
    *("", "/", "/runs/r1", "/web/page.js", "/web/none", "/web/..%2Findex.html", "/data/none"),
    *(f"/data/{name}" for name in page.LISTS),
    *("/data/runs/r1", "/data/runs/none", "/data/runs/r1/metrics", "/data/runs/none/metrics"),
    *("/data/runs/r1/file", "/data/runs/none/file"),
]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_there_without_the_secret_and_every_answer_is_guarded(furnished: Client, path: str) -> None:
    response = get(furnished, path)
    assert response.status == (404 if "none" in path or "%2F" in path or path.endswith("file") else 200)
    assert set(response.headers) >= SAFE
    for secret in ("0" * 32, "ü", furnished.service.identity.control_secret):
        refused = get(furnished, path, secret=quote(secret))
        assert (refused.status, set(refused.headers) >= SAFE) == (404, True)
        assert b"shows the page's address" in sent(refused)


def test_the_policy_allows_the_pages_own_files_only() -> None:
    assert page.SAFELY["X-Content-Type-Options"] == "nosniff"
    policy = dict(part.split(" ", 1) for part in page.POLICY.split("; "))
    assert (policy["default-src"], policy["script-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    assert "unsafe" not in page.POLICY


def test_the_origin_alone_says_where_the_page_is_and_nothing_else(furnished: Client) -> None:
    response = furnished.raw("GET", "/", authorization="")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert b"amlrun emulator status" in sent(response)
    assert furnished.service.identity.page_secret.encode() not in sent(response)


def test_the_page_is_made_of_files_of_its_own(furnished: Client) -> None:
    """Every file is reachable, every import is one of them, and there is no script, style or origin besides."""
    html = sent(get(furnished, "/runs/r1")).decode()
    assert f'<base href="/page/{furnished.service.identity.page_secret}/">' in html
    assert set(page.ASSETS) == {path.name for path in WEB.iterdir()} - {"index.html"}
    texts = {name: sent(get(furnished, f"/web/{name}")).decode() for name in page.ASSETS}
    asked = {name for text in texts.values() for name in re.findall(r'from "\./([\w.]+)"', text)}
    asked |= set(re.findall(r'(?:src|href)="web/([\w.]+)"', html))
    assert asked == set(page.ASSETS)
    for name, text in texts.items():
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        assert get(furnished, f"/web/{name}").headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert len(text.splitlines()) <= 400
        assert not re.search(
            r"innerHTML|insertAdjacent|document\.write|eval\(|https?://(?!www\.w3\.org/2000/svg)", text
        )
    assert not re.search(r"<script>|<style|\sstyle=|\son\w+=|https?:", html)


def test_an_empty_workspace(client: Client) -> None:
    assert read(client, "/data/runs") == {"experiments": {}, "states": {}, "runs": [], "total": 0}
    assert (read(client, "/data/models"), read(client, "/data/requests")) == ({"models": []}, {"requests": []})
    assert read(client, "/data/compute")["compute"] == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["u5", "u4", "u3", "u2", "u1", "u0"]),
        ({"top": "2", "skip": "1"}, ["u4", "u3"]),
        ({"top": "2", "skip": "-1"}, ["u5", "u4"]),
        ({"skip": "9" * 30}, ["u5", "u4", "u3", "u2", "u1", "u0"]),
        ({"state": "active"}, ["u4", "u2", "u0"]),
        ({"state": "Failed"}, ["u5", "u3", "u1"]),
        ({"text": "LR=3"}, ["u3"]),
        ({"text": "größe exp u4"}, ["u4"]),
        ({"text": "lr=3 u4"}, []),
        ({"experiment": "other"}, ["v0"]),
        ({"experiment": "none"}, []),
    ],
)
def test_runs_are_chosen_and_cut(client: Client, query: dict[str, str], expected: list[str]) -> None:
    client.ask("POST", EXPERIMENT)
    other = EXPERIMENT.removesuffix("exp") + "other"
    client.ask("POST", other)
    runs = [
        {"runId": f"u{n}", "status": ("Running", "Failed")[n % 2], "displayName": "GRÖSSE", "tags": {"lr": str(n)}}
        for n in range(6)
    ]
    client.ask("PATCH", f"{EXPERIMENT}/batch/runs", {"runs": [*runs, {"runId": "hidden", "hidden": True}]})
    if "experiment" in query:
        client.ask("PATCH", f"{other}/runs/v0", {"runId": "v0"})
    assert [run["runId"] for run in read(client, "/data/runs", **query)["runs"]] == expected


def test_lists_say_what_the_workspace_has(furnished: Client) -> None:
    furnished.engine.busy["gpu"] = 3
    assert [(item["name"], item["inUse"]) for item in read(furnished, "/data/compute")["compute"]] == [("gpu", 3)]
    assert [item["id"] for item in read(furnished, "/data/models")["models"]] == ["birds:1"]
    first = read(furnished, "/data/environments")["environments"][0]
    conda = ["python=3.11", {"pip": ["numpy==2.0.0"]}]
    assert first == {"name": "env", "version": "1", "image": "a/b:1", "conda": conda}
    furnished.raw("GET", "/nowhere/lately")
    read(furnished, "/data/requests")
    latest = read(furnished, "/data/requests")["requests"][0]
    assert (latest["method"], latest["path"], latest["status"]) == ("GET", "/nowhere/lately", 501), "not the page's own"
    assert not [seen for seen in furnished.service.requests if "/page/" in seen["path"]]


@pytest.mark.parametrize("python", [None, {}, {"condaDependencies": None}, {"condaDependencies": {}}])
def test_an_environment_that_leaves_things_out_is_listed(client: Client, python: Any) -> None:
    client.ask("PUT", f"{ENVIRONMENTS}/odd", {"name": "odd", "python": python, "docker": None})
    first = read(client, "/data/environments")["environments"][0]
    assert first == {"name": "odd", "version": "1", "image": None, "conda": []}


def test_a_run_with_its_parent_children_program_and_files(furnished: Client) -> None:
    furnished.ask("PATCH", f"{EXPERIMENT}/runs/c1", {"runId": "c1", "parentRunId": "r2", "displayName": "child"})
    upload(furnished, "user_logs/std_log.txt", b"12345")
    found = read(furnished, "/data/runs/r2")
    assert ([item["runId"] for item in found["children"]], found["definition"]["script"]) == (["c1"], "train.py")
    assert (found["environment"]["name"], found["run"]["target"]) == ("env", "gpu")
    assert read(furnished, "/data/runs/c1")["parent"]["runId"] == "r2"
    here = read(furnished, "/data/runs/r1")
    assert {"path": "user_logs/std_log.txt", "bytes": 5} in here["files"]
    assert "user_logs/std_log.txt" in here["logs"]
    assert "cancelUri" not in here["run"], "the page only reads"


def test_what_json_has_no_word_for_hides_no_run(furnished: Client) -> None:
    furnished.ask("PATCH", f"{EXPERIMENT}/runs/odd", {"runId": "odd"})
    failure = {"ErrorResponse": {"error": {"message": "loss is no number", "seen": [math.nan, {"best": math.inf}]}}}
    furnished.ask("POST", f"{EXPERIMENT}/runs/odd/events", {"name": "Error", "data": failure})
    content = sent(get(furnished, "/data/runs/odd"))
    found = json.loads(content, parse_constant=lambda name: pytest.fail(f"no browser reads {name}"))
    assert found["run"]["error"]["error"]["seen"] == ["nan", {"best": "inf"}]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("outputs/x.html", "text/plain; charset=utf-8"),
        ("outputs/x.SVG", "text/plain; charset=utf-8"),
        ("outputs/x.js", "text/plain; charset=utf-8"),
        ("outputs/x", "text/plain; charset=utf-8"),
        ("outputs/x.PNG", "image/png"),
        ("outputs/x.jpg", "image/jpeg"),
    ],
)
def test_a_file_is_text_or_a_picture_and_never_a_document(furnished: Client, path: str, kind: str) -> None:
    upload(furnished, path, b"<script>1</script>")
    for query, expected in (({}, kind), ({"download": "1"}, "application/octet-stream")):
        response = get(furnished, "/data/runs/r1/file", path=path, **query)
        assert (response.headers["Content-Type"], sent(response)) == (expected, b"<script>1</script>")
        assert set(response.headers) >= SAFE


@pytest.mark.parametrize(
    ("query", "first", "part"),
    [
        ({}, 0, b"0123456789"),
        ({"offset": "4"}, 4, b"456789"),
        ({"offset": "4", "size": "3"}, 4, b"456"),
        ({"offset": "99"}, 10, b""),
        ({"offset": "-1"}, 0, b"0123456789"),
        ({"offset": "²"}, 0, b"0123456789"),
        ({"offset": "9" * 5000}, 0, b"0123456789"),
        ({"tail": "3"}, 7, b"789"),
        ({"tail": "99"}, 0, b"0123456789"),
    ],
)
def test_a_part_of_a_file(furnished: Client, query: dict[str, str], first: int, part: bytes) -> None:
    if "logs/part.txt" not in read(furnished, "/data/runs/r1")["logs"]:
        upload(furnished, "logs/part.txt", b"0123456789")
    response = get(furnished, "/data/runs/r1/file", path="logs/part.txt", **query)
    assert (response.headers["X-Size"], response.headers["X-First"], sent(response)) == ("10", str(first), part)


def test_no_part_of_a_file_is_larger_than_a_megabyte(furnished: Client) -> None:
    upload(furnished, "logs/large.txt", b"x" * (3 << 20))
    for query in ({}, {"size": str(2 << 20)}, {"tail": str(2 << 20)}):
        assert get(furnished, "/data/runs/r1/file", path="logs/large.txt", **query).length == 1 << 20
    assert get(furnished, "/data/runs/r1/file", path="logs/large.txt", download="1").length == 3 << 20


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.pt", "attachment; filename=\"model.pt\"; filename*=UTF-8''model.pt"),
        ("größe ☃.pt", "attachment; filename=\"gr__e _.pt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%E2%98%83.pt"),
        ('a"b\\c', "attachment; filename=\"a_b_c\"; filename*=UTF-8''a%22b%5Cc"),
        ("a\r\nSet-Cookie: b", "attachment; filename=\"a__Set-Cookie: b\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20b"),
        ("./still/here/x", "attachment; filename=\"x\"; filename*=UTF-8''x"),
    ],
)
def test_what_a_file_is_kept_as(furnished: Client, name: str, expected: str) -> None:
    upload(furnished, f"outputs/{name}", b"1")
    response = get(furnished, "/data/runs/r1/file", path=f"outputs/{name}", download="1")
    assert (response.headers["Content-Disposition"], sent(response)) == (expected, b"1")


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "outputs/../../secret", "outputs", "", "ExperimentRun/dcid.r1"]
)
def test_no_path_leads_out_of_the_run(furnished: Client, path: str) -> None:
    assert get(furnished, "/data/runs/r1/file", path=path).status == 404


ROWS = [{"data": {"v": float(number)}} for number in range(5)]


def test_a_metric_is_drawn_by_row_or_by_step(furnished: Client) -> None:
    by_row = log(furnished, "by row", ROWS)
    assert (by_row["x"], by_row["lines"]["v"][:2], by_row["last"]) == ("row", [[1, 0], [2, 1]], [["4.0"]])
    by_step = log(furnished, "by step", [{**row, "step": 10 * number} for number, row in enumerate(ROWS)])
    assert (by_step["x"], by_step["lines"]["v"][:2]) == ("step", [[0, 0], [10, 1]])
    assert log(furnished, "one step", [{**row, "step": 0} for row in ROWS])["x"] == "row"
    more = log(furnished, "by row", [*ROWS, {"data": {"v": 7.5}}])
    assert more["lines"]["v"][-1] == [6, 7.5], "a row that arrived is drawn"


@pytest.mark.parametrize(
    ("value", "drawn"),
    [
        (1, 1.0),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        ("NaN", "NaN"),
        (None, None),
        (10**400, "Infinity"),
        (-(10**400), "-Infinity"),
    ],
    ids=lambda value: str(value)[:9],
)
def test_what_is_no_finite_number_goes_as_its_name(furnished: Client, value: Any, drawn: Any) -> None:
    found = log(furnished, f"odd {str(value)[:9]}", [{"data": {"v": 0}}, {"data": {"v": value}}])
    assert found["lines"]["v"] == [[1, 0], [2, drawn]]


@pytest.mark.parametrize(
    ("rows", "columns", "cells"),
    [
        ([{"v": 1}, {"v": "x"}], ["v"], [["1"], ["x"]]),
        ([{"v": True}], ["v"], [["true"]]),
        ([{"v": [1, math.nan]}, {"w": {"a": None}}], ["v", "w"], [["[1, NaN]", ""], ["", '{"a": null}']]),
        ([{"v": "y" * 300}], ["v"], [["y" * 200 + "…"]]),
        ([{}], [], [[]]),
        ([{f"c{number}": 1 for number in range(9)}], [f"c{number}" for number in range(9)], [["1"] * 9]),
    ],
)
def test_what_is_no_line_is_cells(rows: list[dict[str, Any]], columns: list[str], cells: list[list[str]]) -> None:
    found = curves.drawing([{"data": row} for row in rows], "dcid.r1")
    assert (found["columns"], found["cells"]) == (columns, cells)


def test_pictures_are_those_of_the_run() -> None:
    here = "aml://artifactId/ExperimentRun/dcid.r1/plots/a b.png"
    elsewhere = "aml://artifactId/ExperimentRun/dcid.r2/x.png"
    assert curves.drawing([{"data": {"p": here}}], "dcid.r1")["images"] == ["plots/a b.png"]
    for value in (elsewhere, "https://example.com/dcid.r1/x.png"):
        assert "images" not in curves.drawing([{"data": {"p": value}}], "dcid.r1")


def test_of_many_rows_peaks_ends_and_gaps_are_kept() -> None:
    values: list[Any] = [float(number % 7) for number in range(100_000)]
    values[12_345], values[54_321], values[77_777] = 1e6, -1e6, math.nan
    line = curves.drawing([{"data": {"v": value}} for value in values], "c")["lines"]["v"]
    assert len(line) <= curves.MOST_POINTS
    assert {(12_346, 1e6), (54_322, -1e6), (77_778, "NaN"), (1, 0.0), (100_000, values[-1])} <= set(line)
    assert line == sorted(line, key=lambda point: point[0])


def test_a_page_asked_for_again_reads_and_draws_what_came_since(
    furnished: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(furnished, "kept", ROWS)
    add, added, known = curves.Series.add, [], len(page.DRAWINGS)

    def noting(series: curves.Series, rows: list[dict[str, Any]]) -> None:
        added.extend(row["data"] for row in rows)
        add(series, rows)

    monkeypatch.setattr(curves.Series, "add", noting)
    log(furnished, "kept", [*ROWS, {"data": {"v": 7.5}}])
    assert (added, len(page.DRAWINGS)) == ([{"v": 7.5}], known)
    monkeypatch.setattr(curves.Series, "drawn", None)
    assert "kept" in read(furnished, "/data/runs/r1/metrics")["metrics"]


def test_only_so_many_drawings_are_kept(furnished: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "KEPT_DRAWINGS", 2)
    for name in ("one", "two", "three", "two"):
        found = log(furnished, name, ROWS)
        assert (found["rows"], len(page.DRAWINGS)) == (len(ROWS), 2)


def test_a_start_says_where_the_page_is(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = instance.Running("https://127.0.0.1:1", 1, "birth", "python")
    monkeypatch.setattr(instance, "start", lambda settings: (running, True))
    monkeypatch.setattr(instance, "ask", lambda folder, what: {"page": "https://127.0.0.1:1/page/secret"})
    done = cli(tmp_path, "emulator", "start", "--dir", str(tmp_path))
    assert "look at it: https://127.0.0.1:1/page/secret\n" in done.out
    done = cli(tmp_path, "emulator", "start", "--dir", str(tmp_path), "--json")
    assert json.loads(done.out)["page"] == "https://127.0.0.1:1/page/secret"
